/* attention.h - attention forward for the type REAL: by blocks of keys with a running softmax (Milakov & Gimelshein, 2018; Dao et al.,
 * 2022), so that no more than TILE_ROWS x BLOCK_KEYS scores exist at a time for each thread. A few queries with many keys go one at a time.
 *
 * Packed operands lie in panels: `width` columns of a matrix, row after row, as the block kernel likes them. */

/* What a thread works in. */
typedef struct NAME(attention_space) {
    REAL *keys, *values; /* packed panels of one block */
    REAL *scores;        /* [TILE_ROWS, BLOCK_KEYS], or the scores of one query */
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
    const int64_t kv_head = unit->head / (job->heads / job->kv_heads), dim = job->dim, first_key = job->how.key_start[unit->sequence];
    const int64_t start = visible(job, unit->sequence, unit->first).low,
                  end = visible(job, unit->sequence, unit->first + unit->count - 1).high;
    for (int64_t i = 0; i < unit->count; i++) {
        int64_t row = (job->how.query_start[unit->sequence] + unit->first + i) * job->heads + unit->head;
        memset((REAL *)job->y + row * dim, 0, (size_t)dim * sizeof(REAL));
        space->most[i] = -INFINITY;
        space->sum[i] = 0;
    }
    for (int64_t block = start; block < end; block += BLOCK_KEYS) {
        int64_t keys = end - block < BLOCK_KEYS ? end - block : BLOCK_KEYS;
        KERNELS->pack(dim, keys, NAME(turned)(NAME(rows_of)(job->k, first_key + block, kv_head)), (REAL)job->how.scale, space->keys);
        KERNELS->pack(keys, dim, NAME(rows_of)(job->v, first_key + block, kv_head), 1, space->values);
        for (int64_t row = 0; row < unit->count; row += TILE_ROWS) {
            int64_t rows = unit->count - row < TILE_ROWS ? unit->count - row : TILE_ROWS;
            attention_tile tile = tile_at(job, unit->sequence, (attention_range){unit->first + row, unit->first + row + rows},
                                          (attention_range){block, block + keys});
            if (tile.high > tile.low) NAME(forward_tile)(job, unit, &tile, space);
        }
    }
    NAME(finish_rows)(job, unit, space);
}

/* One query at a time, for a few queries with many keys: the keys and values stream by once. */
static void NAME(forward_few)(const attention_job *job, const attention_unit *unit, REAL *scores)
{
    const int64_t kv_head = unit->head / (job->heads / job->kv_heads), dim = job->dim, first_key = job->how.key_start[unit->sequence];
    for (int64_t i = unit->first; i < unit->first + unit->count; i++) {
        const attention_range seen = visible(job, unit->sequence, i);
        const int64_t token = job->how.query_start[unit->sequence] + i, row = token * job->heads + unit->head, n = seen.high - seen.low;
        const NAME(az_matrix) q = NAME(rows_of)(job->q, token, unit->head), k = NAME(rows_of)(job->k, first_key + seen.low, kv_head);
        const NAME(az_matrix) v = NAME(rows_of)(job->v, first_key + seen.low, kv_head);
        REAL *y = (REAL *)job->y + row * dim, *norm = (REAL *)job->norm + 2 * row;
        KERNELS->mat_vec(n, dim, k.data, k.row, q.data, scores);
        KERNELS->scale(n, (REAL)job->how.scale, scores, scores);
        NAME(cap_scores)(job, n, scores, NULL);
        NAME(add_distance)(job, unit->head, position_of(job, unit->sequence, i), seen.low, n, scores);
        norm[0] = KERNELS->max(n, scores);
        norm[1] = 1 / KERNELS->exp_shift(n, scores, norm[0], scores);
        memset(y, 0, (size_t)dim * sizeof *y);
        KERNELS->vec_mat(n, dim, scores, v.data, v.row, y);
        KERNELS->scale(dim, norm[1], y, y);
    }
}

/* Elements of workspace a thread needs. */
static int64_t NAME(forward_space)(const attention_job *job)
{
    const int64_t padded = round_up(job->dim, KERNELS->panel);
    const int64_t many = BLOCK_KEYS * (job->dim + padded) + TILE_ROWS * BLOCK_KEYS + 2 * UNIT_QUERIES;
    return many > job->most_keys ? many : job->most_keys;
}

static void NAME(attention_forward)(const attention_job *job, const attention_unit *units, int64_t n, az_tensor *work)
{
    const int64_t padded = round_up(job->dim, KERNELS->panel);
#pragma omp parallel for schedule(dynamic) if (n > 1 && job->work > AZ_PARALLEL_WORK) num_threads(job->threads)
    for (int64_t i = 0; i < n; i++) {
        REAL *mine = (REAL *)work->data + omp_get_thread_num() * work->shape[1];
        NAME(attention_space) space = {.keys = mine, .values = mine + BLOCK_KEYS * job->dim};
        space.scores = space.values + BLOCK_KEYS * padded;
        space.most = space.scores + TILE_ROWS * BLOCK_KEYS;
        space.sum = space.most + UNIT_QUERIES;
        if (units[i].count <= FEW_QUERIES)
            NAME(forward_few)(job, &units[i], mine);
        else
            NAME(forward_many)(job, &units[i], &space);
    }
}
