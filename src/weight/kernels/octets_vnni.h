/* octets_vnni.h - tiles and vectors multiplied by VNNI, which adds four products of bytes to a lane; two octets share a register of 512
 * bits. Included by octets.h. */

AZ_INLINE __m256 *az_sum_of(az_tiles *tiles, int octet, int64_t vector)
{
    return tiles->sum + (tiles->octets == AZ_PAIR ? vector * AZ_PAIR + octet : vector);
}

/* What is left to do with a tile that a format unpacked: signed levels become unsigned, factors part of the scale. */
AZ_INLINE void az_finish_tile(az_level_kind kind, az_tile *tile)
{
    for (int step = 0; step < AZ_STEPS && kind.is_signed; step++)
        tile->level[step] = _mm256_xor_si256(tile->level[step], _mm256_set1_epi8(-128));
    for (int half = 0; half < 2 && kind.fine; half++)
        tile->fine[half] = _mm256_mul_ps(tile->scale, _mm256_cvtepi32_ps(_mm256_srai_epi32(tile->factor[half], 16)));
}

/* What the sum over the columns, or a half of them where factors are fine, begins with: what levels that are too large add, negated. */
AZ_INLINE int32_t az_start(az_level_kind kind, const az_columns *x, int64_t j, int half)
{
    if (kind.excess == 32) return x->less32[2 * j + half];
    return kind.is_signed ? 128 / 8 * x->less8[j] : kind.excess == 8 ? x->less8[j] : 0;
}

enum { AZ_HALF = AZ_STEPS / 2 };

/* sum + tile . the vector that x begins with */
AZ_INLINE __m256 az_add_vector(az_level_kind kind, const az_tile *tile, const az_columns *x, __m256 sum)
{
    __m256i part[2]; /* halves where factors are fine */
#pragma GCC unroll 8
    for (int step = 0; step < AZ_STEPS; step++) {
        const int p = kind.fine ? step / AZ_HALF : 0;
        if (step == 0 || (kind.fine && step == AZ_HALF)) part[p] = _mm256_set1_epi32(az_start(kind, x, 0, p));
        part[p] = _mm256_dpbusd_epi32(part[p], tile->level[step], az_broadcast_four(x->q + 4 * step));
    }
    __m256 products;
    if (kind.fine)
        products = _mm256_fmadd_ps(tile->fine[1], _mm256_cvtepi32_ps(part[1]), _mm256_mul_ps(tile->fine[0], _mm256_cvtepi32_ps(part[0])));
    else
        products = _mm256_mul_ps(tile->scale, _mm256_cvtepi32_ps(part[0]));
    return az_less_minimum(kind, tile, x, 0, _mm256_fmadd_ps(products, _mm256_broadcast_ss(x->scale), sum));
}

AZ_INLINE __m512i az_broadcast_wide(const void *from)
{
    int32_t four;
    memcpy(&four, from, sizeof four);
    return _mm512_set1_epi32(four);
}

AZ_INLINE __m512 az_both(const __m256 of[AZ_PAIR])
{
    return _mm512_load_ps((const float *)of);
}

/* sum[j] += the tiles of both octets . vector j of the block that x begins with, for n of them from `first` on; kind and n are constants
 * where it is inlined. The same operations as above. */
AZ_INLINE void az_add_to_pair(az_level_kind kind, const az_tile_pair *tile, int n, const az_columns *x, int64_t first, __m512 *sum)
{
    __m512i part[2][AZ_GROUP];
#pragma GCC unroll 8
    for (int step = 0; step < AZ_STEPS; step++) {
        const int p = kind.fine ? step / AZ_HALF : 0;
        const __m512i level = _mm512_load_si512(tile->level[step]);
#pragma GCC unroll 8
        for (int v = 0; v < n; v++) {
            if (step == 0 || (kind.fine && step == AZ_HALF)) part[p][v] = _mm512_set1_epi32(az_start(kind, x, first + v, p));
            part[p][v] = _mm512_dpbusd_epi32(part[p][v], level, az_broadcast_wide(x->q + (first + v) * AZ_BLOCK + 4 * step));
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < n; v++) {
        const int64_t j = first + v;
        __m512 products, y = sum[j];
        if (kind.fine)
            products = _mm512_fmadd_ps(az_both(tile->fine[1]), _mm512_cvtepi32_ps(part[1][v]),
                                       _mm512_mul_ps(az_both(tile->fine[0]), _mm512_cvtepi32_ps(part[0][v])));
        else
            products = _mm512_mul_ps(az_both(tile->scale), _mm512_cvtepi32_ps(part[0][v]));
        y = _mm512_fmadd_ps(products, _mm512_set1_ps(x->scale[j]), y);
        if (kind.minimum && !kind.fine) y = _mm512_fnmadd_ps(az_both(tile->offset[0]), _mm512_set1_ps(x->total[j]), y);
        for (int h = 0; h < 2 && kind.minimum && kind.fine; h++)
            y = _mm512_fnmadd_ps(az_both(tile->offset[h]), _mm512_set1_ps(x->halves[2 * j + h]), y);
        sum[j] = y;
    }
}

/* The sums of the t'th tiles and n vectors, the first of them number `first`; n is a constant where it is inlined. */
AZ_INLINE void az_add_vectors(az_level_kind kind, int octets, az_tiles *tiles, int t, int n, const az_columns *x, int64_t first)
{
    if (octets == AZ_PAIR) {
        az_add_to_pair(kind, &tiles->pair[t], n, x, first, (__m512 *)tiles->sum);
        return;
    }
    for (int64_t j = first; j < first + n; j++) {
        const az_columns from = az_columns_at(x, j);
        tiles->sum[j] = az_add_vector(kind, &tiles->tile[t][0], &from, tiles->sum[j]);
    }
}

/* Puts a tile where vectors will meet it. */
AZ_INLINE void az_keep_tile(az_level_kind kind, const az_tile *tile, az_tiles *tiles, int t, int o)
{
    if (tiles->octets == 1) {
        tiles->tile[t][o] = *tile;
        return;
    }
    az_tile_pair *pair = &tiles->pair[t];
    for (int step = 0; step < AZ_STEPS; step++) pair->level[step][o] = tile->level[step];
    pair->scale[o] = tile->scale;
    for (int half = 0; half < 2; half++) {
        if (kind.minimum && (kind.fine || half == 0)) pair->offset[half][o] = tile->offset[half];
        if (kind.fine) pair->fine[half][o] = tile->fine[half];
    }
}
