/* Chat templates: the shapes of published ones with prompts written by hand, the language's pieces, and templates that must be refused. */
#include "adze/lm.h"
#include "lm/tokenizer/json.h"

#include <criterion/criterion.h>
#include <string.h>

static const char talk[] = "[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\" Hi! \"},"
                           "{\"role\":\"assistant\",\"content\":\"Hello.\"},{\"role\":\"user\",\"content\":\"Why?\"}]";

static const az_tokenizer *with_marks(az_ctx *az)
{
    const char *json =
        "{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0}},\"added_tokens\":[{\"id\":1,\"content\":"
        "\"<s>\",\"special\":true},{\"id\":2,\"content\":\"</s>\",\"special\":true}],\"post_processor\":{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{}},{\"SpecialToken\":{\"id\":"
        "\"</s>\"}}]}}";
    const az_tokenizer *t = az_tokenizer_from_json(az, json, strlen(json));
    cr_assert_not_null(t, "%s", az_error(az));
    return t;
}

static void expect_prompt(const char *form, const char *messages, bool generate, const char *wanted)
{
    az_ctx *az = az_open(NULL);
    const char *got = az_chat_render(az, with_marks(az), form, messages, generate);
    cr_assert_not_null(got, "%s", az_error(az));
    cr_assert_str_eq(got, wanted, "got '%s', wanted '%s'", got, wanted);
    az_close(az);
}

Test(chat, forms_by_name)
{
    expect_prompt("chatml", talk, true,
                  "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi! <|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
                  "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n");
    expect_prompt("llama2", talk, true, "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi! [/INST] Hello. </s><s>[INST] Why? [/INST]");
    expect_prompt("llama3", talk, true,
                  "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi!"
                  "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
                  "Why?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
    expect_prompt("mistral", talk, false, "<s>[INST] Be brief.\n\n Hi!  [/INST] Hello.</s>[INST] Why? [/INST]");
    expect_prompt("gemma", talk, true,
                  "<s><start_of_turn>user\nBe brief.\n\nHi!<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n<start_of_turn>user\n"
                  "Why?<end_of_turn>\n<start_of_turn>model\n");
    expect_prompt(
        "phi3", talk, true,
        "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi! <|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nWhy?<|end|>\n<|assistant|>\n");
    expect_prompt("zephyr", talk, true,
                  "<|system|>\nBe brief.</s>\n<|user|>\n Hi! </s>\n<|assistant|>\nHello.</s>\n<|user|>\nWhy?</s>\n<|assistant|>\n");
}

/* In lines, with the white space that trim_blocks and lstrip_blocks take away. */
Test(chat, a_template_in_lines)
{
    expect_prompt("{{ bos_token }}\n"
                  "{%- set ns = namespace(found=false, n=0) %}\n"
                  "{%- for m in messages if m.role != 'system' %}\n"
                  "    {%- if m['role'] == \"user\" and not ns.found %}\n"
                  "        {%- set ns.found = true %}\n"
                  "    {%- endif %}\n"
                  "    {%- set ns.n = ns.n + 1 %}\n"
                  "{{ loop.index ~ ':' ~ m.content|trim }}{{ ',' if not loop.last else '.' }}\n"
                  "{%- endfor %}\n"
                  "{# a remark #}\n"
                  "  {% if ns.found %}\n"
                  "found {{ ns.n }}\n"
                  "  {% else %}\n"
                  "nothing\n"
                  "  {% endif %}\n"
                  "end\n",
                  talk, false, "<s>1:Hi!,2:Hello.,3:Why?.found 3\nend");
}

Test(chat, expressions)
{
    static const struct {
        const char *expression, *wanted;
    } cases[] = {
        {"1 + 2 * 3 - 4 // 3", "6"},
        {"-7 // 2 ~ ' ' ~ -7 % 3", "-4 2"},
        {"'a' 'b' + \"c\\n\"", "abc\n"},
        {"messages[1:] | length", "3"},
        {"messages[-1].content[:2]", "Wh"},
        {"(messages | first).role + '/' + messages[::-1][0]['content']", "system/Why?"},
        {"'x' in 'axb' and 'role' in messages[0] and 3 not in [1, 2]", "True"},
        {"none is none and x is not defined and 'a' is string", "True"},
        {"x | default('d') ~ ('' | default('e', true))", "de"},
        {"messages[0] | tojson", "{\"role\": \"system\", \"content\": \"Be brief.\"}"},
        {"{'a': [1, true, none], 'b': {}} | tojson", "{\"a\": [1, true, null], \"b\": {}}"},
        {"['a', 'b', 1] | join('-')", "a-b-1"},
        {"'a</think> b'.split('</think>')[-1].strip()", "b"},
        {"'x,y,z'.split(',', 1) | join(';')", "x;y,z"},
        {"' a '.lstrip() ~ '|' ~ 'xxa'.lstrip('x') ~ 'Ab'.upper() ~ 'Ab' | lower", "a |aABab"},
        {"'abc'.startswith('ab') and 'abc'.endswith('bc')", "True"},
        {"'a' if false else 'b' if false else 'c'", "c"},
        {"raise_exception('no') if false else 'yes'", "yes"},
        {"false and raise_exception('no') or 'yes'", "yes"},
        {"(messages | selectattr('role', 'equalto', 'user') | list | length) ~ (messages | rejectattr('role', 'equalto', 'user') | list | "
         "length)",
         "22"},
        {"range(3) | join ~ messages[0].items() | length", "0122"},
        {"1 < 2 and 2 <= 2 and 'a' < 'b' and 1 == 1.0 and not 1 != 1", "True"},
        {"'\u00fc\u00e9x'[1] ~ '\u00fc\u00e9x' | length", "\u00e93"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const char *got = az_chat_render(az, NULL, az_format_text(az, "{{ %s }}", cases[i].expression), talk, false);
        cr_assert_not_null(got, "%s: %s", cases[i].expression, az_error(az));
        cr_expect_str_eq(got, cases[i].wanted, "%s: got '%s', wanted '%s'", cases[i].expression, got, cases[i].wanted);
        az_close(az);
    }
}

/* What a loop sets ends with it. */
Test(chat, variables_live_in_their_loop)
{
    expect_prompt("{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{% endfor %}{{ x }}", talk, false, "1");
    expect_prompt("{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", talk, false, "2");
    expect_prompt("{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}", talk, false, "role=system;content=Be brief.;");
    expect_prompt("{% for m in [] %}a{% else %}none{% endfor %}", talk, false, "none");
}

static void expect_refusal(const char *form, const char *messages, const char *why)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_chat_render(az, NULL, form, messages, false), "%s", form);
    cr_assert(strstr(az_error(az), why), "'%s' does not say '%s'", az_error(az), why);
    az_close(az);
}

Test(chat, what_cannot_be_done_is_refused)
{
    expect_refusal("nosuch", talk, "neither a chat template nor the name");
    expect_refusal(NULL, talk, "brings no chat template");
    expect_refusal("chatml", "{}", "no list");
    expect_refusal("chatml", "[", "no JSON");
    expect_refusal("mistral", "[{\"role\":\"assistant\",\"content\":\"a\"}]", "must alternate");
    expect_refusal("{% macro f() %}{% endmacro %}", talk, "'macro' is not known");
    expect_refusal("{{ 'a' | rot13 }}", talk, "'rot13' is not known");
    expect_refusal("{{ 'a'.rot13() }}", talk, "'rot13' is not known");
    expect_refusal("{{ 'a' is rotten }}", talk, "'rotten' is not known");
    expect_refusal("{{ now() }}", talk, "'now' is not known");
    expect_refusal("{{ x.y }}", talk, "undefined");
    expect_refusal("{{ messages }}", talk, "tojson");
    expect_refusal("{{ 1 // 0 }}", talk, "division by zero");
    expect_refusal("\n{% if true %}", talk, "line 2: 'endif' is missing");
    expect_refusal("{% endif %}", talk, "'endif' ends nothing");
    expect_refusal("{{ 'a }}", talk, "does not end");
    expect_refusal("{{ ((((1 }}", talk, "expected ')'");
    expect_refusal("{% for i in range(100000000) %}{% endfor %}", talk, "MiB");
    expect_refusal("{% set ns = namespace() %}{% set ns.x = [ns] %}", talk, "a namespace stands inside");
    expect_refusal("{% set ns = namespace(t='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}", talk,
                   "MiB");
    expect_refusal("{% set ns = namespace(t=[]) %}{% for i in range(200) %}{% set ns.t = [ns.t] %}{% endfor %}{{ ns.t | tojson }}", talk,
                   "levels");
}

Test(chat, nesting_is_bounded)
{
    az_ctx *az = az_open(NULL);
    char *deep = az_alloc(az, 300003);
    memset(deep, '(', 300002);
    memcpy(deep, "{{", 2);
    cr_assert_null(az_chat_render(az, NULL, deep, talk, false));
    az_close(az);
}
