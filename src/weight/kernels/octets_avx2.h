/* octets_avx2.h - tiles and vectors multiplied by AVX2, which adds two products of bytes in 16 bits. Included by octets.h. */

AZ_INLINE __m256 *az_sum_of(az_tiles *tiles, int octet, int64_t vector)
{
    return tiles->sum + octet * AZ_MOST + vector;
}

/* What is left to do with a tile that a format unpacked. */
AZ_INLINE void az_finish_tile(az_level_kind kind, az_tile *tile)
{
    (void)kind, (void)tile;
}

/* Sums of two products of levels with x. A sign of the level moves to x, for the unsigned operand. */
AZ_INLINE __m256i az_step_products(az_level_kind kind, __m256i level, __m256i x)
{
    return kind.is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(level), _mm256_sign_epi8(x, level)) : _mm256_maddubs_epi16(level, x);
}

/* In lanes, products of 32 signed bytes of a row with the vector that x begins with. */
AZ_INLINE __m256i az_products_along(__m256i level, const az_columns *x)
{
    const __m256i q = _mm256_loadu_si256((const __m256i *)x->q);
    return _mm256_madd_epi16(az_step_products(az_kind_of(AZ_SIGNED_BYTES), level, q), _mm256_set1_epi16(1));
}

/* What their sum lacks: nothing. */
AZ_INLINE int32_t az_start(az_level_kind kind, const az_columns *x, int64_t j, int half)
{
    (void)kind, (void)x, (void)j, (void)half;
    return 0;
}

/* y + tile . vector j, whose products with the levels are `products` */
AZ_INLINE __m256 az_add_products(az_level_kind kind, const az_tile *tile, const az_columns *x, int64_t j, __m256i products, __m256 y)
{
    y = _mm256_fmadd_ps(tile->scale, _mm256_mul_ps(_mm256_broadcast_ss(x->scale + j), _mm256_cvtepi32_ps(products)), y);
    return az_less_minimum(kind, tile, x, j, y);
}

/* What a run begins with where levels are too large: in each of the two sums of a lane, -excess times the bytes of x that it meets. */
AZ_INLINE __m256i az_start_of_run(az_level_kind kind, const az_columns *x, int64_t j, int step)
{
    if (kind.excess == 8) return az_broadcast_four(x->pairs8 + 2 * j);
    return kind.excess == 32 ? az_broadcast_four(x->pairs32 + 4 * j + step / 4 * 2) : _mm256_setzero_si256();
}

/* sum[o][j] += tile[o] . vector j of the block that x begins with, for j from first on; kind, octets and n are constants where it is
 * inlined.
 */
AZ_INLINE void az_add_group(az_level_kind kind, int octets, const az_tile *tile, int n, const az_columns *x, int64_t first, __m256 *sum)
{
    __m256i total[AZ_PAIR][AZ_GROUP], pairs[AZ_PAIR][AZ_GROUP];
#pragma GCC unroll 8
    for (int step = 0; step < AZ_STEPS; step++)
#pragma GCC unroll 4
        for (int v = 0; v < n; v++) {
            const __m256i four = az_broadcast_four(x->q + (first + v) * AZ_BLOCK + 4 * step);
            const __m256i start = az_start_of_run(kind, x, first + v, step);
#pragma GCC unroll 2
            for (int o = 0; o < octets; o++) {
                const __m256i products = az_step_products(kind, tile[o].level[step], four);
                const bool begins = step % kind.run == 0;
                pairs[o][v] = begins && !kind.excess ? products : az_settled(_mm256_add_epi16(begins ? start : pairs[o][v], products));
                if ((step + 1) % kind.run) continue;
                const __m256i part = _mm256_madd_epi16(pairs[o][v], kind.fine ? tile[o].factor[step / 4] : _mm256_set1_epi16(1));
                total[o][v] = step < kind.run ? part : az_settled(_mm256_add_epi32(total[o][v], part));
            }
        }
#pragma GCC unroll 4
    for (int v = 0; v < n; v++)
#pragma GCC unroll 2
        for (int o = 0; o < octets; o++) {
            __m256 *y = sum + o * AZ_MOST + first + v;
            *y = az_add_products(kind, &tile[o], x, first + v, total[o][v], *y);
        }
}

/* sum + tile . the vector that x begins with */
AZ_INLINE __m256 az_add_vector(az_level_kind kind, const az_tile *tile, const az_columns *x, __m256 sum)
{
    az_add_group(kind, 1, tile, 1, x, 0, &sum);
    return sum;
}

/* The sums of the t'th tiles and n vectors, the first of them number `first`; n is a constant where it is inlined. */
AZ_INLINE void az_add_vectors(az_level_kind kind, int octets, az_tiles *tiles, int t, int n, const az_columns *x, int64_t first)
{
    az_add_group(kind, octets, tiles->tile[t], n, x, first, tiles->sum);
}

/* Puts a tile where vectors will meet it. */
AZ_INLINE void az_keep_tile(az_level_kind kind, const az_tile *tile, az_tiles *tiles, int t, int o)
{
    (void)kind;
    tiles->tile[t][o] = *tile;
}

/* Registers are too few for the tiles of a pair: no rows are done. */
AZ_INLINE int64_t az_pairs_with_few(az_block_kernel kernel, bool arranged, const void *rows, int64_t count, const az_columns *x, float *y,
                                    int64_t y_stride)
{
    (void)kernel, (void)arranged, (void)rows, (void)count, (void)x, (void)y, (void)y_stride;
    return 0;
}

/* sum [AZ_ARRANGED] += a block of arranged rows . the vector that x begins with */
AZ_INLINE void az_arranged_block_with_vector(az_block_kernel kernel, az_octet rows, const az_columns *x, az_arranged_sum *sum)
{
#pragma GCC unroll 2
    for (int o = 0; o < AZ_PAIR; o++) sum->octet[o] = az_block_with_vector(kernel, az_octet_at(rows, o), NULL, x, sum->octet[o]);
}
