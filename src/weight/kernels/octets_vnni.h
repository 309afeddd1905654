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

/* y + tile . vector j, whose products with the levels are `products`; the tile is not fine */
AZ_INLINE __m256 az_add_products(az_level_kind kind, const az_tile *tile, const az_columns *x, int64_t j, __m256i products, __m256 y)
{
    y = _mm256_fmadd_ps(_mm256_mul_ps(tile->scale, _mm256_cvtepi32_ps(products)), _mm256_broadcast_ss(x->scale + j), y);
    return az_less_minimum(kind, tile, x, j, y);
}

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
    if (!kind.fine) return az_add_products(kind, tile, x, 0, part[0], sum);
    const __m256 products =
        _mm256_fmadd_ps(tile->fine[1], _mm256_cvtepi32_ps(part[1]), _mm256_mul_ps(tile->fine[0], _mm256_cvtepi32_ps(part[0])));
    return az_less_minimum(kind, tile, x, 0, _mm256_fmadd_ps(products, _mm256_broadcast_ss(x->scale), sum));
}

/* In lanes, products of 32 signed bytes of a row with the vector that x begins with; their sum lacks az_start. */
AZ_INLINE __m256i az_products_along(__m256i level, const az_columns *x)
{
    const __m256i q = _mm256_loadu_si256((const __m256i *)x->q);
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_xor_si256(level, _mm256_set1_epi8(-128)), q);
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

/* ---- pairs of octets with few vectors: tiles and sums stay in registers ----------------------------------------------------------------
 */

struct az_wide_tile {
    __m512i level[AZ_STEPS];
    __m512 scale, offset[1]; /* the tile of a kind that is not fine */
};

/* Four by four dwords in each lane of v[0] .. v[3] turned about: dword k of v[r] becomes dword r of out[k]. */
AZ_INLINE void az_turn_lanes(const __m512i v[4], __m512i out[4])
{
    const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    const __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm512_unpacklo_epi64(a, c), out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d), out[3] = _mm512_unpackhi_epi64(b, d);
}

/* Bytes at .. at + 15 of each row of a pair: dword k of row r goes to lane r of out[k]. */
AZ_INLINE void az_wide_load_columns(az_octet rows, int64_t at, __m512i out[4])
{
    if (rows.arranged) {
        for (int k = 0; k < 4; k++) out[k] = _mm512_loadu_si512(az_arranged_numbers(rows, at + 4 * k, 4));
        return;
    }
    __m512i v[4];
    for (int r = 0; r < 4; r++) {
        const unsigned char *row = rows.first + r * rows.apart + at;
        v[r] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)row));
        v[r] = _mm512_inserti32x4(v[r], _mm_loadu_si128((const __m128i *)(row + 4 * rows.apart)), 1);
        v[r] = _mm512_inserti32x4(v[r], _mm_loadu_si128((const __m128i *)(row + 8 * rows.apart)), 2);
        v[r] = _mm512_inserti32x4(v[r], _mm_loadu_si128((const __m128i *)(row + 12 * rows.apart)), 3);
    }
    az_turn_lanes(v, out);
}

/* The same for 32 bytes of rows that are not arranged, with half the loads. */
AZ_INLINE void az_wide_load_block(az_octet rows, int64_t at, __m512i out[AZ_STEPS])
{
    __m512i half[2][4]; /* lanes: columns 0 .. 15 and 16 .. 31 of four rows, then of the next four */
    for (int h = 0; h < 2; h++) {
        __m512i v[4];
        for (int r = 0; r < 4; r++) {
            const unsigned char *row = rows.first + (8 * h + r) * rows.apart + at;
            v[r] = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)row));
            v[r] = _mm512_inserti64x4(v[r], _mm256_loadu_si256((const __m256i *)(row + 4 * rows.apart)), 1);
        }
        az_turn_lanes(v, half[h]);
    }
    for (int k = 0; k < 4; k++) {
        out[k] = _mm512_shuffle_i32x4(half[0][k], half[1][k], 0x88);
        out[k + 4] = _mm512_shuffle_i32x4(half[0][k], half[1][k], 0xdd);
    }
}

/* The f16 number at byte `at` of each row; two bytes behind it are read as well. */
AZ_INLINE __m512 az_wide_load_halves(az_octet rows, int64_t at)
{
    if (rows.arranged) return _mm512_cvtph_ps(_mm256_loadu_si256(az_arranged_numbers(rows, at, 2)));
    const __m512i number = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i from = _mm512_mullo_epi32(number, _mm512_set1_epi32((int)rows.apart));
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_i32gather_epi32(from, rows.first + at, 1)));
}

/* The 32 bits at byte `at` of each row. */
AZ_INLINE __m512i az_wide_load_dwords(az_octet rows, int64_t at)
{
    if (rows.arranged) return _mm512_loadu_si512(az_arranged_numbers(rows, at, 4));
    int32_t all[AZ_PAIR * AZ_OCTET];
    for (int r = 0; r < AZ_PAIR * AZ_OCTET; r++) memcpy(&all[r], rows.first + r * rows.apart + at, 4);
    return _mm512_loadu_si512(all);
}

AZ_INLINE __m512i az_wide_lower_nibbles(__m512i v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}
AZ_INLINE __m512i az_wide_upper_nibbles(__m512i v)
{
    return az_wide_lower_nibbles(_mm512_srli_epi16(v, 4));
}

/* sum[v] += a block of the pair's rows . vector v of the block that x begins with, for n of them, a constant where it is inlined. The
 * operations are those of az_add_to_pair. */
AZ_INLINE void az_pair_block_with_few(az_block_kernel kernel, az_octet rows, int n, const az_columns *x, __m512 *sum)
{
    const az_level_kind kind = az_kind_of(kernel.kind);
    az_wide_tile tile;
    __m512i part[AZ_GROUP];
    kernel.unpack_pair(kernel.format, rows, &tile);
#pragma GCC unroll 8
    for (int step = 0; step < AZ_STEPS; step++) {
        if (kind.is_signed) tile.level[step] = _mm512_xor_si512(tile.level[step], _mm512_set1_epi8(-128));
#pragma GCC unroll 8
        for (int v = 0; v < n; v++) {
            if (step == 0) part[v] = _mm512_set1_epi32(az_start(kind, x, v, 0));
            part[v] = _mm512_dpbusd_epi32(part[v], tile.level[step], az_broadcast_wide(x->q + v * AZ_BLOCK + 4 * step));
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < n; v++) {
        sum[v] = _mm512_fmadd_ps(_mm512_mul_ps(tile.scale, _mm512_cvtepi32_ps(part[v])), _mm512_set1_ps(x->scale[v]), sum[v]);
        if (kind.minimum) sum[v] = _mm512_fnmadd_ps(tile.offset[0], _mm512_set1_ps(x->total[v]), sum[v]);
    }
}

/* y[j y_stride ..] = the pair's rows . vector j, n of them, a constant where it is inlined, from `first` on. Meanwhile memory behind the
 * rows is fetched, once. */
AZ_INLINE void az_pair_with_few(az_block_kernel kernel, az_octet rows, int n, const az_columns *x, int64_t first, float *y,
                                int64_t y_stride)
{
    const int64_t bytes = AZ_PAIR * AZ_OCTET * kernel.bytes;
    const char *next = (const char *)rows.first + x->cols / AZ_BLOCK * bytes;
    az_columns from = az_columns_at(x, first);
    __m512 sum[AZ_GROUP];
    for (int v = 0; v < n; v++) sum[v] = _mm512_setzero_ps();
    for (int64_t c = 0; c < x->cols; c += AZ_BLOCK, next += bytes) {
        az_fetch(next, first == 0 ? bytes : 0);
        az_pair_block_with_few(kernel, rows, n, &from, sum);
        rows = az_octet_behind(rows, kernel.bytes), from = az_columns_at(&from, x->n);
    }
    for (int v = 0; v < n; v++) _mm512_storeu_ps(y + v * y_stride, sum[v]);
}

/* sum [AZ_ARRANGED] += a block of arranged rows . the vector that x begins with */
AZ_INLINE void az_arranged_block_with_vector(az_block_kernel kernel, az_octet rows, const az_columns *x, az_arranged_sum *sum)
{
    az_pair_block_with_few(kernel, rows, 1, x, (__m512 *)sum->octet);
}

/* Rows of whole pairs with all vectors, where it pays to unpack tiles anew for each group of them; returns how many are done. */
AZ_INLINE int64_t az_pairs_with_few(az_block_kernel kernel, bool arranged, const void *rows, int64_t count, const az_columns *x, float *y,
                                    int64_t y_stride)
{
    enum { ROWS = AZ_PAIR * AZ_OCTET };
    const int64_t n = x->n, row_bytes = x->cols / kernel.columns * kernel.bytes;
    const bool pays = arranged ? n > 1 && n <= 2 * AZ_GROUP : (n == 4 || n == 8) && row_bytes <= INT32_MAX / ROWS;
    if (!kernel.unpack_pair || !pays) return 0;
    for (int64_t r = 0; r < count - count % ROWS; r += ROWS) {
        const az_octet pair = {.first = (const unsigned char *)rows + r * row_bytes, .apart = row_bytes, .arranged = arranged};
        int64_t j = 0;
        for (; j + 8 <= n; j += 8) az_pair_with_few(kernel, pair, 8, x, j, y + j * y_stride + r, y_stride);
        for (; j + 4 <= n; j += 4) az_pair_with_few(kernel, pair, 4, x, j, y + j * y_stride + r, y_stride);
        for (; j + 2 <= n; j += 2) az_pair_with_few(kernel, pair, 2, x, j, y + j * y_stride + r, y_stride);
        for (; j < n; j++) az_pair_with_few(kernel, pair, 1, x, j, y + j * y_stride + r, y_stride);
    }
    return count - count % ROWS;
}
