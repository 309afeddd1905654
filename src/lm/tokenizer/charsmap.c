/* charsmap.c - SentencePiece's compiled normalisation: a Darts double-array trie from character sequences to replacements.
 *
 * A unit of the trie (32 bits): bit 8 = a value hangs below, bits 0 to 7 and 31 = label, bit 9 = the offset counts 256 units; of the unit
 * with the value, bits 0 to 30. Every index is checked, a map of any bytes is safe to ask. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

static uint32_t read_u32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

bool az_charsmap_check(az_ctx *az, az_text map)
{
    if (map.length >= 8 && read_u32(map.data) % 4 == 0 && read_u32(map.data) > 0 && read_u32(map.data) <= map.length - 4) return true;
    return az_fail(az, AZ_BAD_INPUT, "the compiled character map (%zu bytes) does not hold the trie that it announces", map.length);
}

static bool unit_at(az_text map, uint32_t index, uint32_t *unit)
{
    if (index >= read_u32(map.data) / 4) return false;
    *unit = read_u32(map.data + 4 + 4 * (size_t)index);
    return true;
}

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

static bool replacement_at(az_text map, uint32_t value, az_text *replacement)
{
    const size_t begin = 4 + (size_t)read_u32(map.data);
    if (value >= map.length - begin) return false;
    const char *text = map.data + begin + value, *end = memchr(text, 0, map.length - begin - value);
    *replacement = (az_text){.data = text, .length = end ? (size_t)(end - text) : map.length - begin - value};
    return true;
}

size_t az_charsmap_match(az_text map, az_text text, az_text *replacement)
{
    size_t matched = 0;
    uint32_t node, unit, value;
    if (!unit_at(map, 0, &unit)) return 0;
    node = offset_of(unit);
    for (size_t at = 0; at < text.length; at++) {
        const unsigned char byte = (unsigned char)text.data[at];
        node ^= byte;
        if (byte == 0 || !unit_at(map, node, &unit) || (unit & (1u << 31 | 0xffu)) != byte) break;
        node ^= offset_of(unit);
        if ((unit & 1u << 8) && unit_at(map, node, &value) && replacement_at(map, value & ~(1u << 31), replacement)) matched = at + 1;
    }
    return matched;
}
