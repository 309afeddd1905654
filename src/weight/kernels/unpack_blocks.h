/* unpack_blocks.h - 32 columns of a block as a tile: for the rows of an octet, where WIDTH(name) is az_name and LEVELS has 256 bits, or of
 * a pair of octets. Included by rows_of_blocks.h for each. */
AZ_INLINE void WIDTH(unpack_levels)(blocks type, az_octet rows, LEVELS level[AZ_STEPS])
{
    if (type == Q8_0) {
        WIDTH(load_block)(rows, 2, level);
        return;
    }
    LEVELS both[4];
    WIDTH(load_columns)(rows, bytes_of(type) - 16, both);
    for (int k = 0; k < 4; k++) level[k] = WIDTH(lower_nibbles)(both[k]), level[k + 4] = WIDTH(upper_nibbles)(both[k]);
    if (type == IQ4_NL)
        for (int step = 0; step < AZ_STEPS; step++) level[step] = WIDTH(look_up)(level[step]);
    if (type == Q5_0 || type == Q5_1) {
        const LEVELS fifth = WIDTH(load_dwords)(rows, bytes_of(type) - 20);
        for (int step = 0; step < AZ_STEPS; step++) level[step] |= WIDTH(sixteens)(fifth, step);
    }
}

AZ_INLINE void WIDTH(unpack_block)(int format, az_octet rows, WIDTH(tile) * tile)
{
    const blocks type = format;
    WIDTH(unpack_levels)(type, rows, tile->level);
    tile->scale = WIDTH(load_halves)(rows, 0);
    if (type == Q5_0) tile->offset[0] = 16 * tile->scale;
    if (type == Q4_1 || type == Q5_1) tile->offset[0] = 0 - WIDTH(load_halves)(rows, 2);
}
