/* attention.h - attention forward for the type REAL: by blocks of keys with a running softmax (Milakov & Gimelshein, 2018; Dao et al.,
 * 2022), so that no more than TILE_ROWS x BLOCK_KEYS scores exist at a time for each thread. A few queries with many keys go one at a time,
 * in a single pass over keys and values.
 *
 * Packed operands lie in panels: `width` columns of a matrix, row after row, as the block kernel likes them. */

/* What a thread works in. */
typedef struct NAME(attention_space) {
    REAL *rows;          /* [BLOCK_KEYS, dim]: rows of a cache as numbers */
    REAL *keys, *values; /* packed panels of one block */
    REAL *scores;        /* [TILE_ROWS, BLOCK_KEYS], or [heads of a unit, AZ_KV_PAGE] */
    REAL *most, *sum;    /* [UNIT_QUERIES]: running maximum, and sum of exp(score - maximum) */
} NAME(attention_space);

/* c [m, n] += a b for b [k, n] in panels that are `depth` rows deep. */
static void NAME(panel_product)(int64_t m, int64_t n, int64_t k, NAME(az_matrix) a, const REAL *b, int64_t depth, REAL *c, int64_t ldc)
{
    const int64_t width = KERNELS->panel;
    for (int64_t j = 0; j < n; j += width, b += depth * width) {
        const int64_t count = n - j < width ? n - j : width;
        KERNELS->block(m, count, k, a, b, width, c + j, ldc);
    }
}

/* The rows of one head from `token` on. */
static NAME(az_matrix) NAME(rows_of)(attention_rows rows, int64_t token, int64_t head)
{
    return (NAME(az_matrix)){.data = (const REAL *)rows.data + token * rows.token + head * rows.head, .row = rows.token, .column = 1};
}

/* Keys or values keys.low .. keys.high - 1 of a sequence, one head: where they lie, or, if that is not one piece of REALs, in `room`. */
static NAME(az_matrix)
    NAME(rows_for)(const attention_job *job, const attention_unit *unit, az_kv_side side, attention_range keys, REAL *room)
{
    const int64_t head = unit->head / (job->heads / job->kv_heads), dim = job->dim;
    if (!job->kv) return NAME(rows_of)(side == AZ_KEYS ? job->k : job->v, job->how.key_start[unit->sequence] + keys.low, head);
    const bool numbers = job->kv->type == (sizeof(REAL) == sizeof(float) ? AZ_KV_F32 : AZ_KV_F64);
    NAME(az_matrix) rows = {.data = room, .row = dim, .column = 1};
    for (int64_t low = keys.low, high; low < keys.high; low = high) {
        high = (low / AZ_KV_PAGE + 1) * AZ_KV_PAGE;
        if (high > keys.high) high = keys.high;
        const char *stored = az_kv_row(job->kv, side, unit->sequence, head, low);
        if (numbers && low == keys.low && high == keys.high)
            rows.data = (const REAL *)(const void *)stored;
        else
            NAME(az_kv_read)(job->kv, stored, high - low, room + (low - keys.low) * dim);
    }
    return rows;
}

static NAME(az_matrix) NAME(turned)(NAME(az_matrix) a)
{
    return (NAME(az_matrix)){.data = a.data, .row = a.column, .column = a.row};
}

/* Subtracts slope * distance from the scores of keys first, first + 1, ... for the query at `position`. */
static void NAME(add_distance)(const attention_job *job, int64_t head, int64_t position, int64_t first, int64_t n, REAL *scores)
{
    if (!job->how.slope) return;
    const REAL slope = (REAL)job->how.slope[head];
    for (int64_t j = 0; j < n; j++) scores[j] -= slope * (REAL)(position > first + j ? position - first - j : first + j - position);
}

/* Scores become cap tanh(score / cap); `slope`, unless NULL, receives the derivative, 1 - tanh^2. */
static void NAME(cap_scores)(const attention_job *job, int64_t n, REAL *scores, REAL *slope)
{
    const REAL cap = (REAL)job->how.softcap;
    if (cap == 0) return;
    KERNELS->scale(n, 1 / cap, scores, scores);
    KERNELS->tanh(n, scores, scores);
    for (int64_t j = 0; slope && j < n; j++) slope[j] = 1 - scores[j] * scores[j];
    KERNELS->scale(n, cap, scores, scores);
}

/* ---- one tile: TILE_ROWS queries and one block of keys ---- */

/* The scores of a tile: s [rows, BLOCK_KEYS], columns tile->low .. tile->high - 1, rounded outwards to whole panels. */
static void NAME(tile_scores)(const attention_job *job, const attention_tile *tile, NAME(az_matrix) a, const REAL *panels, REAL *s)
{
    const int64_t width = KERNELS->panel, low = tile->low / width * width, n = tile->high - low, dim = job->dim;
    const int64_t bytes = (n + width - 1) / width * width * (int64_t)sizeof(REAL);
    for (int64_t i = 0; i < tile->rows; i++) memset(s + i * BLOCK_KEYS + low, 0, (size_t)bytes);
    for (int64_t j = 0; j < n; j += width)
        KERNELS->block(tile->rows, width, dim, a, panels + (low + j) * dim, width, s + low + j, BLOCK_KEYS);
}

/* Zeros outside low .. high - 1 of a row that counts from tile->low to tile->high. */
static void NAME(clear_unseen)(const attention_tile *tile, attention_range seen, REAL *row)
{
    for (int64_t j = tile->low; j < seen.low; j++) row[j] = 0;
    for (int64_t j = seen.high; j < tile->high; j++) row[j] = 0;
}

/* The part of the keys of this tile's block that row `i` sees, counted from the block's first key. */
static attention_range NAME(row_range)(const attention_job *job, const attention_tile *tile, int64_t i)
{
    attention_range seen = visible(job, tile->sequence, tile->first + i);
    seen.low = seen.low - tile->block > tile->low ? seen.low - tile->block : tile->low;
    seen.high = seen.high - tile->block < tile->high ? seen.high - tile->block : tile->high;
    if (seen.high < seen.low) seen.low = seen.high = tile->low;
    return seen;
}

/* ---- forward ---- */

/* Turns the scores of one row into weights relative to its running maximum, and scales what was summed before to the new maximum. */
static void NAME(running_softmax)(int64_t n, int64_t dim, REAL *scores, REAL *most, REAL *sum, REAL *y)
{
    if (n == 0) return;
    REAL block_most = KERNELS->max(n, scores);
    if (block_most > *most) {
        REAL shrink = *sum > 0 ? (REAL)exp(*most - block_most) : 0;
        if (*sum > 0) KERNELS->scale(dim, shrink, y, y);
        *sum *= shrink;
        *most = block_most;
    }
    *sum += KERNELS->exp_shift(n, scores, *most, scores);
}

static void NAME(forward_tile)(const attention_job *job, const attention_unit *unit, const attention_tile *tile,
                               const NAME(attention_space) * space)
{
    const int64_t dim = job->dim, step = job->heads * dim, token = job->how.query_start[unit->sequence] + tile->first;
    REAL *y = (REAL *)job->y + token * step + unit->head * dim;
    NAME(tile_scores)(job, tile, NAME(rows_of)(job->q, token, unit->head), space->keys, space->scores);
    for (int64_t i = 0; i < tile->rows; i++) {
        attention_range seen = NAME(row_range)(job, tile, i);
        REAL *row = space->scores + i * BLOCK_KEYS;
        int64_t at = tile->first - unit->first + i, n = seen.high - seen.low;
        NAME(cap_scores)(job, n, row + seen.low, NULL);
        NAME(add_distance)(job, unit->head, position_of(job, unit->sequence, tile->first + i), tile->block + seen.low, n, row + seen.low);
        NAME(running_softmax)(n, dim, row + seen.low, space->most + at, space->sum + at, y + i * step);
        NAME(clear_unseen)(tile, seen, row);
    }
    NAME(az_matrix) weights = {.data = space->scores + tile->low, .row = BLOCK_KEYS, .column = 1};
    NAME(panel_product)(tile->rows, dim, tile->high - tile->low, weights, space->values + tile->low * KERNELS->panel, tile->keys, y, step);
}

/* Divides the rows of a unit by their sums and notes maximum and 1 / sum. */
static void NAME(finish_rows)(const attention_job *job, const attention_unit *unit, const NAME(attention_space) * space)
{
    for (int64_t i = 0; i < unit->count; i++) {
        int64_t row = (job->how.query_start[unit->sequence] + unit->first + i) * job->heads + unit->head;
        REAL *y = (REAL *)job->y + row * job->dim, *norm = (REAL *)job->norm + 2 * row;
        norm[0] = space->most[i];
        norm[1] = 1 / space->sum[i];
        KERNELS->scale(job->dim, norm[1], y, y);
    }
}

static void NAME(forward_many)(const attention_job *job, const attention_unit *unit, const NAME(attention_space) * space)
{
    const int64_t dim = job->dim, start = visible(job, unit->sequence, unit->first).low,
                  end = visible(job, unit->sequence, unit->first + unit->count - 1).high;
    for (int64_t i = 0; i < unit->count; i++) {
        int64_t row = (job->how.query_start[unit->sequence] + unit->first + i) * job->heads + unit->head;
        memset((REAL *)job->y + row * dim, 0, (size_t)dim * sizeof(REAL));
        space->most[i] = -INFINITY;
        space->sum[i] = 0;
    }
    for (int64_t block = start; block < end; block += BLOCK_KEYS) {
        int64_t keys = end - block < BLOCK_KEYS ? end - block : BLOCK_KEYS;
        const attention_range range = {block, block + keys};
        const NAME(az_matrix) k = NAME(rows_for)(job, unit, AZ_KEYS, range, space->rows);
        KERNELS->pack(dim, keys, NAME(turned)(k), (REAL)job->how.scale, space->keys);
        KERNELS->pack(keys, dim, NAME(rows_for)(job, unit, AZ_VALUES, range, space->rows), 1, space->values);
        for (int64_t row = 0; row < unit->count; row += TILE_ROWS) {
            int64_t rows = unit->count - row < TILE_ROWS ? unit->count - row : TILE_ROWS;
            attention_tile tile = tile_at(job, unit->sequence, (attention_range){unit->first + row, unit->first + row + rows}, range);
            if (tile.high > tile.low) NAME(forward_tile)(job, unit, &tile, space);
        }
    }
    NAME(finish_rows)(job, unit, space);
}

/* The weights of keys first .. first + n - 1 for query i, one head, relative to the running maximum. */
static void NAME(stream_scores)(const attention_job *job, const attention_unit *unit, int64_t i, int64_t h, NAME(az_matrix) k,
                                attention_range keys, const NAME(attention_space) * space, REAL *y)
{
    const int64_t n = keys.high - keys.low, dim = job->dim;
    const NAME(az_matrix) q = NAME(rows_of)(job->q, job->how.query_start[unit->sequence] + i, unit->head + h);
    REAL *scores = space->scores + h * AZ_KV_PAGE;
    KERNELS->mat_vec(n, dim, k.data, k.row, q.data, scores);
    KERNELS->scale(n, (REAL)job->how.scale, scores, scores);
    NAME(cap_scores)(job, n, scores, NULL);
    NAME(add_distance)(job, unit->head + h, position_of(job, unit->sequence, i), keys.low, n, scores);
    NAME(running_softmax)(n, dim, scores, space->most + h, space->sum + h, y);
}

/* Query i for the unit's heads: keys and values stream by once, a page at a time. */
static void NAME(stream_query)(const attention_job *job, const attention_unit *unit, int64_t i, const NAME(attention_space) * space)
{
    const attention_range seen = visible(job, unit->sequence, i);
    const int64_t dim = job->dim, row = (job->how.query_start[unit->sequence] + i) * job->heads + unit->head;
    REAL *y = (REAL *)job->y + row * dim, *norm = (REAL *)job->norm + 2 * row;
    memset(y, 0, (size_t)(unit->heads * dim) * sizeof *y);
    for (int64_t h = 0; h < unit->heads; h++) {
        space->most[h] = -INFINITY;
        space->sum[h] = 0;
    }
    for (attention_range keys = {.low = seen.low}; keys.low < seen.high; keys.low = keys.high) {
        keys.high = (keys.low / AZ_KV_PAGE + 1) * AZ_KV_PAGE;
        if (keys.high > seen.high) keys.high = seen.high;
        const NAME(az_matrix) k = NAME(rows_for)(job, unit, AZ_KEYS, keys, space->rows);
        for (int64_t h = 0; h < unit->heads; h++) NAME(stream_scores)(job, unit, i, h, k, keys, space, y + h * dim);
        const NAME(az_matrix) v = NAME(rows_for)(job, unit, AZ_VALUES, keys, space->rows);
        for (int64_t h = 0; h < unit->heads; h++)
            KERNELS->vec_mat(keys.high - keys.low, dim, space->scores + h * AZ_KV_PAGE, v.data, v.row, y + h * dim);
    }
    for (int64_t h = 0; h < unit->heads; h++) {
        norm[2 * h] = space->most[h];
        norm[2 * h + 1] = 1 / space->sum[h];
        KERNELS->scale(dim, norm[2 * h + 1], y + h * dim, y + h * dim);
    }
}

/* Elements of workspace a thread needs. */
static int64_t NAME(forward_space)(const attention_job *job)
{
    const int64_t padded = round_up(job->dim, KERNELS->panel);
    return BLOCK_KEYS * (2 * job->dim + padded) + TILE_ROWS * BLOCK_KEYS + 2 * UNIT_QUERIES;
}

typedef struct NAME(attention_share) {
    const attention_job *job;
    const attention_unit *units;
    az_tensor *work; /* [threads, forward_space] */
} NAME(attention_share);

static void NAME(attention_turn)(const void *units, int64_t n)
{
    const NAME(attention_share) *share = units;
    const attention_job *job = share->job;
    const attention_unit *unit = &share->units[n];
    NAME(attention_space) space = {.rows = (REAL *)share->work->data + omp_get_thread_num() * share->work->shape[1]};
    space.keys = space.rows + BLOCK_KEYS * job->dim;
    space.values = space.keys + BLOCK_KEYS * job->dim;
    space.scores = space.values + BLOCK_KEYS * round_up(job->dim, KERNELS->panel);
    space.most = space.scores + TILE_ROWS * BLOCK_KEYS;
    space.sum = space.most + UNIT_QUERIES;
    if (unit->count > FEW_QUERIES)
        NAME(forward_many)(job, unit, &space);
    else
        for (int64_t i = unit->first; i < unit->first + unit->count; i++) NAME(stream_query)(job, unit, i, &space);
}

static void NAME(attention_forward)(const attention_job *job, const attention_unit *units, int64_t n, az_tensor *work)
{
    const NAME(attention_share) share = {.job = job, .units = units, .work = work};
    az_each_uneven(job->work > AZ_PARALLEL_WORK ? job->threads : 1, n, NAME(attention_turn), &share);
}
