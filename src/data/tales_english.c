/* tales_english.c - the roles of the tales: what is chosen once in a story and comes back, and which choices depend on each other. */
#include "data/tales.h"

static const tale_role role[] = {
    {.name = "hero", .table = "child"},
    {.name = "friend", .table = "child", .relation = TALE_DIFFERS, .of = "hero"},
    {.name = "elder", .table = "elder"},
    {.name = "neighbour", .table = "neighbour"},
    {.name = "animal", .table = "animal"},
    {.name = "stray", .table = "animal", .relation = TALE_DIFFERS, .of = "animal"},
    {.name = "pet_name", .table = "pet_name"},
    {.name = "mark", .table = "mark"},
    {.name = "trait", .table = "trait"},
    {.name = "mood", .table = "sad"},

    {.name = "home", .table = "home"},
    {.name = "spot", .table = "spot", .relation = TALE_DIFFERS, .of = "other_spot"},
    {.name = "other_spot", .table = "spot", .relation = TALE_DIFFERS, .of = "spot"},
    {.name = "hideout", .table = "hideout"},
    {.name = "weekday", .table = "weekday"},
    {.name = "season", .table = "season"},
    {.name = "sky", .table = "sky"},

    {.name = "toy", .table = "toy"},
    {.name = "other_toy", .table = "toy", .relation = TALE_DIFFERS, .of = "toy"},
    {.name = "colour", .table = "colour"},
    {.name = "other_colour", .table = "colour", .relation = TALE_DIFFERS, .of = "colour"},
    {.name = "treat", .table = "treat"},
    {.name = "award", .table = "prize"},

    {.name = "had", .table = "number", .first = 3, .last = 10},
    {.name = "gave", .table = "number", .relation = TALE_LESS, .of = "had"},
    {.name = "left", .table = "number", .relation = TALE_MINUS, .of = "had", .of2 = "gave"},
    {.name = "first", .table = "number", .first = 2, .last = 6},
    {.name = "more", .table = "number", .first = 1, .last = 6},
    {.name = "total", .table = "number", .relation = TALE_PLUS, .of = "first", .of2 = "more"},
    {.name = "given", .table = "number", .relation = TALE_LESS, .of = "total", .first = 1, .last = 4},
    {.name = "rest", .table = "number", .relation = TALE_MINUS, .of = "total", .of2 = "given"},

    {.name = "loss", .table = "loss"},
    {.name = "plan", .table = "plan"},
    {.name = "trouble", .table = "trouble"},
    {.name = "mishap", .table = "mishap"},
    {.name = "chore", .table = "chore"},
    {.name = "illness", .table = "ill"},
    {.name = "outcome", .table = "outcome"},
    {.name = "turn", .table = "turn"},
    {.name = "outing", .table = "outing"},
    {.name = "decision", .table = "decision"},
};

const tale_grammar tale_english = {
    .tables = {tale_words, tale_plots},
    .role = role,
    .roles = (int)(sizeof role / sizeof *role),
    .start = "story",
};
