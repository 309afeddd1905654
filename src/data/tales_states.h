/* tales_states.h - a distribution over casts, for the exact measures of the tales. Private to data/.
 *
 * A state is a cast and the probability that a story being told has it. Beside it stand, for each role and form, mass * (expected letters
 * of that form): they stay exact when states are merged whose casts have become equal, so that lengths need no states of their own. */
#ifndef ADZE_DATA_TALES_STATES_H
#define ADZE_DATA_TALES_STATES_H

#include "data/tales.h"

typedef uint64_t tale_roles; /* a set of roles */

static inline tale_roles tale_one(int role)
{
    return role >= 0 ? (tale_roles)1 << role : 0;
}

typedef struct tale_state {
    tale_cast cast;
    tale_roles chosen; /* the roles that have a value */
    double mass;
} tale_state;

typedef struct tale_states {
    tale_state *item;
    double *letters; /* [count, width]: width numbers for each state */
    int64_t count, room;
    int width;
    az_buffer *items, *numbers; /* hold the two */
} tale_states;

/* Appends a state with `share` of the letters given (NULL: none). Returns its letters, to be changed in place; NULL when memory is
 * exhausted. */
double *tale_states_add(az_ctx *az, tale_states *s, const tale_state *item, const double *letters, double share);
bool tale_states_add_all(az_ctx *az, tale_states *s, const tale_states *more);
void tale_states_drop(tale_states *s);
/* s becomes what `by` holds. */
void tale_states_replace(tale_states *s, tale_states *by);
/* Forgets roles outside of `mentioned` altogether, and of those outside of `values` all but that they are chosen; then merges equal states.
 */
bool tale_states_forget(az_ctx *az, tale_states *s, tale_roles mentioned, tale_roles values);
double tale_states_mass(const tale_states *s);
/* The roles that are chosen in every state. */
tale_roles tale_states_chosen(const tale_states *s);

#endif
