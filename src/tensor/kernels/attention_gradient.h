/* attention_gradient.h - the derivative of attention for the type REAL. With weights P = softmax(S) and G the gradient of the result,
 *     dV = P^T G,  dP = G V^T,  dS = P (dP - rowsum(G Y)),  dQ = scale dS K,  dK = scale dS^T Q
 * (dS times 1 - tanh^2 when scores are capped);
 * scores and weights are computed again for each tile from the saved maximum and sum of its rows. */

typedef struct NAME(gradient_space) {
    REAL *keys_turned, *values_turned, *keys; /* packed panels of one block: scale K^T, V^T, scale K */
    REAL *weights, *g_scores;                 /* [TILE_ROWS, BLOCK_KEYS] */
    REAL *queries, *g_rows;                   /* packed panels of one tile: scale Q, G */
} NAME(gradient_space);

/* Weights and dS of one tile, in space->weights and space->g_scores. */
static void NAME(gradient_scores)(const attention_job *job, const attention_tile *tile, int64_t head, const NAME(gradient_space) * space)
{
    const int64_t dim = job->dim, step = job->heads * dim, token = job->how.query_start[tile->sequence] + tile->first;
    const REAL *y = (const REAL *)job->y + token * step + head * dim, *g = (const REAL *)job->gy + token * step + head * dim;
    NAME(tile_scores)(job, tile, NAME(rows_of)(job->q, token, head), space->keys_turned, space->weights);
    NAME(tile_scores)(job, tile, (NAME(az_matrix)){.data = g, .row = step, .column = 1}, space->values_turned, space->g_scores);
    for (int64_t i = 0; i < tile->rows; i++) {
        const attention_range seen = NAME(row_range)(job, tile, i);
        const int64_t n = seen.high - seen.low;
        const REAL *norm = (const REAL *)job->norm + 2 * ((token + i) * job->heads + head);
        REAL *weights = space->weights + i * BLOCK_KEYS, *g_scores = space->g_scores + i * BLOCK_KEYS;
        REAL slope[BLOCK_KEYS];
        NAME(cap_scores)(job, n, weights + seen.low, slope);
        NAME(add_distance)(job, head, position_of(job, tile->sequence, tile->first + i), tile->block + seen.low, n, weights + seen.low);
        KERNELS->exp_scaled(n, weights + seen.low, norm[0], norm[1], weights + seen.low);
        KERNELS->softmax_gradient(n, weights + seen.low, KERNELS->dot(dim, g + i * step, y + i * step), g_scores + seen.low);
        for (int64_t j = 0; job->how.softcap != 0 && j < n; j++) g_scores[seen.low + j] *= slope[j];
        NAME(clear_unseen)(tile, seen, weights);
        NAME(clear_unseen)(tile, seen, g_scores);
    }
}

/* Adds what one tile contributes to dQ, dK and dV. */
static void NAME(gradient_tile)(const attention_job *job, const attention_tile *tile, int64_t head, const NAME(gradient_space) * space)
{
    const int64_t dim = job->dim, step = job->heads * dim, kv_step = job->kv_heads * dim, kv_head = head / (job->heads / job->kv_heads);
    const int64_t token = job->how.query_start[tile->sequence] + tile->first, keys = tile->high - tile->low;
    const int64_t key = (job->how.key_start[tile->sequence] + tile->block + tile->low) * kv_step + kv_head * dim;
    NAME(gradient_scores)(job, tile, head, space);
    KERNELS->pack(tile->rows, dim, NAME(rows_of)(job->q, token, head), (REAL)job->how.scale, space->queries);
    KERNELS->pack(tile->rows, dim, (NAME(az_matrix)){(const REAL *)job->gy + token * step + head * dim, step, 1}, 1, space->g_rows);
    const NAME(az_matrix) weights = {.data = space->weights + tile->low, .row = BLOCK_KEYS, .column = 1};
    const NAME(az_matrix) g_scores = {.data = space->g_scores + tile->low, .row = BLOCK_KEYS, .column = 1};
    NAME(panel_product)(keys, dim, tile->rows, NAME(turned)(weights), space->g_rows, tile->rows, (REAL *)job->gv + key, kv_step);
    NAME(panel_product)(keys, dim, tile->rows, NAME(turned)(g_scores), space->queries, tile->rows, (REAL *)job->gk + key, kv_step);
    NAME(panel_product)
    (tile->rows, dim, keys, g_scores, space->keys + tile->low * KERNELS->panel, tile->keys, (REAL *)job->gq + token * step + head * dim,
     step);
}

/* All queries of one sequence against one head of keys, block by block. */
static void NAME(gradient_sequence)(const attention_job *job, int sequence, int64_t kv_head, const NAME(gradient_space) * space)
{
    const int64_t queries = job->how.query_start[sequence + 1] - job->how.query_start[sequence], group = job->heads / job->kv_heads;
    const int64_t all_keys = job->how.key_count[sequence], dim = job->dim;
    for (int64_t block = 0; block < all_keys && queries > 0; block += BLOCK_KEYS) {
        const attention_range keys = {block, block + BLOCK_KEYS < all_keys ? block + BLOCK_KEYS : all_keys};
        const int64_t n = keys.high - keys.low;
        const NAME(az_matrix) k = NAME(rows_of)(job->k, job->how.key_start[sequence] + block, kv_head);
        const NAME(az_matrix) v = NAME(rows_of)(job->v, job->how.key_start[sequence] + block, kv_head);
        KERNELS->pack(dim, n, NAME(turned)(k), (REAL)job->how.scale, space->keys_turned);
        KERNELS->pack(dim, n, NAME(turned)(v), 1, space->values_turned);
        KERNELS->pack(n, dim, k, (REAL)job->how.scale, space->keys);
        for (int64_t first = 0; first < queries; first += TILE_ROWS) {
            const attention_range rows = {first, first + TILE_ROWS < queries ? first + TILE_ROWS : queries};
            const attention_tile tile = tile_at(job, sequence, rows, keys);
            for (int64_t head = kv_head * group; head < (kv_head + 1) * group && tile.high > tile.low; head++)
                NAME(gradient_tile)(job, &tile, head, space);
        }
    }
}

static int64_t NAME(backward_space)(const attention_job *job)
{
    const int64_t padded = round_up(job->dim, KERNELS->panel);
    return BLOCK_KEYS * (2 * job->dim + padded) + 2 * TILE_ROWS * (BLOCK_KEYS + padded);
}

/* One unit a sequence and head of keys; when sequences share rows of keys, one unit a head, which takes the sequences in turn. */
static void NAME(attention_backward)(const attention_job *job, bool keys_shared, az_tensor *work)
{
    const int64_t padded = round_up(job->dim, KERNELS->panel), tile = TILE_ROWS * BLOCK_KEYS;
    const int together = keys_shared ? job->how.sequences : 1;
    const int64_t units = job->kv_heads * (keys_shared ? 1 : job->how.sequences);
#pragma omp parallel for schedule(dynamic) if (units > 1 && job->work > AZ_PARALLEL_WORK) num_threads(job->threads)
    for (int64_t unit = 0; unit < units; unit++) {
        REAL *mine = (REAL *)work->data + omp_get_thread_num() * work->shape[1];
        NAME(gradient_space) space = {.keys_turned = mine, .values_turned = mine + BLOCK_KEYS * job->dim};
        space.keys = space.values_turned + BLOCK_KEYS * job->dim;
        space.weights = space.keys + BLOCK_KEYS * padded;
        space.g_scores = space.weights + tile;
        space.queries = space.g_scores + tile;
        space.g_rows = space.queries + TILE_ROWS * padded;
        for (int i = 0; i < together; i++)
            NAME(gradient_sequence)(job, keys_shared ? i : (int)(unit / job->kv_heads), unit % job->kv_heads, &space);
    }
}
