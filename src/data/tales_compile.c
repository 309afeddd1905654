/* tales_compile.c - turns the written grammar of the tales into pieces that the writer, the reader and the measurer walk. */
#include "data/tales.h"

#include <string.h>

typedef struct compiler {
    az_ctx *az;
    const tale_grammar *grammar;
    az_tales *out;
} compiler;

static bool same(const char *name, const char *text, size_t length)
{
    return strlen(name) == length && !memcmp(name, text, length);
}

static int find_table(const az_tales *tales, const char *text, size_t length)
{
    for (int t = 0; t < tales->tables; t++)
        if (same(tales->table[t].source->name, text, length)) return t;
    return -1;
}

static int find_role(const tale_grammar *grammar, const char *text, size_t length)
{
    for (int r = 0; r < grammar->roles; r++)
        if (same(grammar->role[r].name, text, length)) return r;
    return -1;
}

/* Position of a form's name in a table's list, counted from one; -1 when it is not there. */
static int find_form(const char *forms, const char *text, size_t length)
{
    for (int f = 1; forms && *forms; f++) {
        size_t word = strcspn(forms, " ");
        if (word == length && !memcmp(forms, text, length)) return f;
        forms += word + strspn(forms + word, " ");
    }
    return -1;
}

/* slot: what stands between the braces. */
static bool compile_slot(compiler *c, const char *slot, size_t length, tale_piece *piece)
{
    const char *whole = slot;
    size_t whole_length = length;
    *piece = (tale_piece){.capital = length && *slot == '^'};
    if (piece->capital) slot++, length--;
    const char *dot = memchr(slot, '.', length);
    size_t name = dot ? (size_t)(dot - slot) : length;
    piece->kind = TALE_ROLE;
    piece->index = find_role(c->grammar, slot, name);
    int table = piece->index >= 0 ? c->out->role[piece->index].table : find_table(c->out, slot, name);
    if (piece->index < 0) {
        piece->kind = TALE_CHOICE;
        piece->index = table;
    }
    if (table >= 0 && dot) piece->form = find_form(c->out->table[table].source->forms, dot + 1, length - name - 1);
    if (table >= 0 && piece->form >= 0) return true;
    az_fail(c->az, AZ_BAD_CALL, "tales grammar: nothing is called {%.*s}", (int)whole_length, whole);
    return false;
}

static bool compile_template(compiler *c, const char *text, tale_template *out)
{
    int pieces = 1;
    for (const char *s = text; *s; s++) pieces += 2 * (*s == '{');
    *out = (tale_template){.piece = az_alloc_array(c->az, (size_t)pieces, sizeof(tale_piece))};
    if (!out->piece) return false;
    while (*text) {
        tale_piece *piece = &out->piece[out->count++];
        if (*text != '{') {
            size_t length = strcspn(text, "{");
            *piece = (tale_piece){.kind = TALE_LITERAL, .text = text, .length = length};
            text += length;
            continue;
        }
        size_t length = strcspn(text, "}");
        if (!text[length]) return az_fail(c->az, AZ_BAD_CALL, "tales grammar: '%s' has no closing brace", text);
        if (!compile_slot(c, text + 1, length - 1, piece)) return false;
        text += length + 1;
    }
    return true;
}

static bool compile_table(compiler *c, int t)
{
    tale_choices *table = &c->out->table[t];
    const tale_table *source = table->source;
    table->form = az_alloc_array(c->az, (size_t)source->count, sizeof *table->form);
    if (!table->form) return false;
    if (source->count > UINT8_MAX - 1) return az_fail(c->az, AZ_BAD_CALL, "tales grammar: table '%s' is too long", source->name);
    for (int e = 0; e < source->count; e++) {
        table->total += source->entry[e].weight;
        for (int f = 0; f < TALE_FORMS; f++)
            if (source->entry[e].form[f] && !compile_template(c, source->entry[e].form[f], &table->form[e][f])) return false;
    }
    return true;
}

static bool compile_role(compiler *c, int r)
{
    const tale_role *source = &c->grammar->role[r];
    tale_part *role = &c->out->role[r];
    int table = find_table(c->out, source->table, strlen(source->table));
    *role = (tale_part){.source = source, .table = table, .of = -1, .of2 = -1};
    if (table < 0) return az_fail(c->az, AZ_BAD_CALL, "tales grammar: no table '%s' for role '%s'", source->table, source->name);
    role->first = source->first ? source->first - 1 : 0;
    role->last = source->last ? source->last - 1 : c->out->table[table].source->count - 1;
    if (source->of) role->of = find_role(c->grammar, source->of, strlen(source->of));
    if (source->of2) role->of2 = find_role(c->grammar, source->of2, strlen(source->of2));
    if ((source->of && role->of < 0) || (source->of2 && role->of2 < 0))
        return az_fail(c->az, AZ_BAD_CALL, "tales grammar: role '%s' depends on a role that does not exist", source->name);
    return true;
}

/* Lists the tables of both groups. */
static bool gather_tables(compiler *c)
{
    int count = 0;
    for (int group = 0; group < 2; group++)
        for (const tale_table *t = c->grammar->tables[group]; t && t->name; t++) count++;
    c->out->table = az_alloc_array(c->az, (size_t)count, sizeof *c->out->table);
    if (!c->out->table) return false;
    for (int group = 0; group < 2; group++)
        for (const tale_table *t = c->grammar->tables[group]; t && t->name; t++) c->out->table[c->out->tables++].source = t;
    return true;
}

static bool compile_all(compiler *c)
{
    if (!gather_tables(c)) return false;
    for (int r = 0; r < c->grammar->roles; r++)
        if (!compile_role(c, r)) return false;
    for (int t = 0; t < c->out->tables; t++)
        if (!compile_table(c, t)) return false;
    c->out->start = find_table(c->out, c->grammar->start, strlen(c->grammar->start));
    if (c->out->start < 0) return az_fail(c->az, AZ_BAD_CALL, "tales grammar: no table '%s' to start from", c->grammar->start);
    return tale_check(c->az, c->out);
}

az_tales *tale_compile(az_ctx *az, const tale_grammar *grammar)
{
    if (grammar->roles > TALE_MAX_ROLES) return az_fail(az, AZ_BAD_CALL, "tales grammar: more than %d roles", TALE_MAX_ROLES);
    az_tales *tales = az_alloc(az, sizeof *tales);
    if (!tales) return NULL;
    *tales = (az_tales){.roles = grammar->roles};
    tales->role = az_alloc_array(az, (size_t)grammar->roles + 1, sizeof *tales->role);
    if (!tales->role) return NULL;
    return compile_all(&(compiler){.az = az, .grammar = grammar, .out = tales}) ? tales : NULL;
}

/* ---- choices of roles ---- */

const tale_entry *tale_entry_of(const az_tales *tales, int role, int entry)
{
    return &tales->table[tales->role[role].table].source->entry[entry];
}

int tale_weight(const az_tales *tales, int role, const tale_cast *cast, int entry)
{
    const tale_part *part = &tales->role[role];
    if (entry < part->first || entry > part->last) return 0;
    int value = entry + 1; /* as the cast counts: from one, 0 = open */
    int of = part->of >= 0 ? cast->value[part->of] : 0, of2 = part->of2 >= 0 ? cast->value[part->of2] : 0;
    int weight = tale_entry_of(tales, role, entry)->weight;
    switch (part->source->relation) {
    case TALE_FREE: return weight;
    case TALE_DIFFERS: return value != of && value != of2 ? weight : 0;
    case TALE_LESS: return value < of ? weight : 0;
    case TALE_MINUS: return value == of - of2;
    case TALE_PLUS: return value == of + of2;
    }
    return 0;
}

int64_t tale_total(const az_tales *tales, int role, const tale_cast *cast)
{
    int64_t total = 0;
    for (int e = tales->role[role].first; e <= tales->role[role].last; e++) total += tale_weight(tales, role, cast, e);
    return total;
}
