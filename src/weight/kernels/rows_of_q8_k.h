/* rows_of_q8_k.h - products with rows of q8_k: blocks of 256 signed bytes behind an f32 scale (format_q8_k.c). */
#include "weight/kernels/octets.h"

AZ_INLINE void begin_block(int format, az_octet rows, az_unpacking *shared)
{
    (void)format, (void)rows, (void)shared; /* tiles share a scale, nothing that is work to unpack */
}

AZ_INLINE int unpack_block(int format, az_octet rows, int step, az_unpacking *shared, az_tile *tile)
{
    (void)format, (void)shared;
    const int64_t at = 4 + (int64_t)step * AZ_BLOCK;
    az_load_block(rows, at, tile->level);
    tile->scale = _mm256_castsi256_ps(az_load_dwords(rows, 0));
    return step;
}

AZ_INLINE az_block_kernel kernel_of_q8_k(void)
{
    return (az_block_kernel){.begin = begin_block, .unpack = unpack_block, .kind = AZ_SIGNED_BYTES, .columns = 256, .bytes = AZ_Q8_K_BYTES};
}

AZ_ROWS_KERNEL(q8_k, kernel_of_q8_k())
