/* table_values.c - what a field says: a number, a date, nothing, or one of the different texts of its column. */
#include "data/table_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

enum { LONGEST_NUMBER = 400 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Whether the whole field is [+-] digits [. digits] [e [+-] digits], with at least one digit before the exponent. */
static bool spells_number(const char *at, const char *end, bool *whole)
{
    int64_t digits = 0;
    *whole = true;
    if (at < end && (*at == '-' || *at == '+')) at++;
    for (; at < end && is_digit(*at); at++) digits++;
    if (at < end && *at == '.') {
        *whole = false;
        for (at++; at < end && is_digit(*at); at++) digits++;
    }
    if (digits > 0 && at < end && (*at == 'e' || *at == 'E')) {
        *whole = false;
        at++;
        if (at < end && (*at == '-' || *at == '+')) at++;
        digits = 0;
        for (; at < end && is_digit(*at); at++) digits++;
    }
    return digits > 0 && at == end;
}

static bool spells_infinity(csv_field field, double *value)
{
    const char *text = field.text;
    uint32_t length = field.length;
    const bool minus = length > 0 && *text == '-';
    if (length > 0 && (*text == '-' || *text == '+')) text++, length--;
    if (!(length == 3 && strncasecmp(text, "inf", 3) == 0) && !(length == 8 && strncasecmp(text, "infinity", 8) == 0)) return false;
    *value = minus ? -INFINITY : INFINITY;
    return true;
}

/* Up to 15 digits and powers of ten up to 22 are exact in double, so one rounding gives the nearest number (Clinger 1990). */
static bool short_number(const char *at, const char *end, double *value)
{
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const bool minus = *at == '-';
    int digits = 0, exponent = 0, sign = 1, given = 0;
    int64_t mantissa = 0;
    if (*at == '-' || *at == '+') at++;
    for (bool point = false; at < end && (is_digit(*at) || *at == '.'); at++) {
        if (*at == '.') {
            point = true;
            continue;
        }
        mantissa = mantissa * 10 + (*at - '0');
        digits += mantissa > 0;
        exponent -= point;
        if (digits > 15 || exponent < -22) return false;
    }
    if (at < end) {
        at++;
        if (*at == '-' || *at == '+') sign = *at++ == '-' ? -1 : 1;
        for (; at < end; at++)
            if ((given = given * 10 + (*at - '0')) > 100) return false;
    }
    exponent += sign * given;
    if (exponent < -22 || exponent > 22) return false;
    const double size = exponent < 0 ? (double)mantissa / power[-exponent] : (double)mantissa * power[exponent];
    *value = minus ? -size : size;
    return true;
}

bool csv_number(csv_field field, double *value, bool *whole)
{
    const char *end = field.text + field.length;
    *whole = false;
    if (field.length == 0 || field.length > LONGEST_NUMBER) return false;
    if (!spells_number(field.text, end, whole)) {
        *whole = false;
        return spells_infinity(field, value);
    }
    if (short_number(field.text, end, value)) return true;
    char copy[LONGEST_NUMBER + 1];
    memcpy(copy, field.text, field.length);
    copy[field.length] = '\0';
    *value = strtod(copy, NULL);
    return true;
}

/* ---- dates ---- */

/* Days from 1970-01-01, proleptic Gregorian calendar; years begin in March here, so that the leap day is the last. */
int64_t days_of_date(int64_t year, int month, int day)
{
    year -= month <= 2;
    const int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void date_of_days(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    const int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
    const int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    const int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100), part = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * part + 2) / 5 + 1);
    *month = (int)(part < 10 ? part + 3 : part - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

/* Exactly n digits. */
static bool take_digits(const char **at, const char *end, int n, int *value)
{
    *value = 0;
    for (; n > 0; n--, (*at)++) {
        if (*at == end || !is_digit(**at)) return false;
        *value = *value * 10 + (**at - '0');
    }
    return true;
}

static bool take_char(const char **at, const char *end, const char *any)
{
    if (*at == end || !strchr(any, **at)) return false;
    (*at)++;
    return true;
}

/* ":SS" and ".ffff" */
static bool take_seconds(const char **at, const char *end, double *seconds)
{
    int whole = 0;
    if (!take_char(at, end, ":")) return true;
    if (!take_digits(at, end, 2, &whole) || whole > 60) return false;
    *seconds += whole;
    if (!take_char(at, end, ".")) return true;
    double unit = 0.1;
    if (*at == end || !is_digit(**at)) return false;
    for (; *at < end && is_digit(**at); (*at)++, unit /= 10) *seconds += unit * (**at - '0');
    return true;
}

/* "Z", "+01:00", "-0330" or nothing, as seconds that local time is ahead. */
static bool take_zone(const char **at, const char *end, double *ahead)
{
    int hours = 0, minutes = 0;
    *ahead = 0;
    if (*at == end || take_char(at, end, "Z")) return true;
    const double sign = **at == '-' ? -1 : 1;
    if (!take_char(at, end, "+-") || !take_digits(at, end, 2, &hours)) return false;
    take_char(at, end, ":");
    if (!take_digits(at, end, 2, &minutes)) return false;
    *ahead = sign * (hours * 3600.0 + minutes * 60.0);
    return hours < 24 && minutes < 60;
}

bool csv_date(csv_field field, double *days)
{
    static const int length[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *at = field.text, *end = at + field.length;
    int year = 0, month = 0, day = 0, hour = 0, minute = 0;
    if (!take_digits(&at, end, 4, &year) || !take_char(&at, end, "-") || !take_digits(&at, end, 2, &month) || !take_char(&at, end, "-") ||
        !take_digits(&at, end, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > length[month - 1]) return false;
    if (month == 2 && day == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0))) return false;
    *days = (double)days_of_date(year, month, day);
    if (at == end) return true;
    double seconds = 0, ahead = 0;
    if (!take_char(&at, end, "T ") || !take_digits(&at, end, 2, &hour) || !take_char(&at, end, ":") || !take_digits(&at, end, 2, &minute))
        return false;
    if (hour > 24 || minute > 59 || !take_seconds(&at, end, &seconds) || !take_zone(&at, end, &ahead)) return false;
    *days += (hour * 3600.0 + minute * 60.0 + seconds - ahead) / 86400.0;
    return at == end;
}

/* ---- missing values ---- */

missing_words csv_missing_words(az_ctx *az, const char *more)
{
    static const char *const usual[] = {"NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A", "n/a"};
    enum { USUAL = sizeof usual / sizeof *usual };
    int extra = 0;
    for (const char *c = more ? more : ""; *c; c++) extra += *c == ',' || c == more;
    const char **word = az_alloc_array(az, (size_t)(USUAL + extra + 1), sizeof *word);
    missing_words words = {.word = word};
    if (!word) return words;
    for (int i = 0; i < USUAL; i++) word[words.count++] = usual[i];
    while (more && *more) {
        const int length = (int)strcspn(more, ",");
        double value;
        bool whole;
        if (length > 0) word[words.count++] = az_format_text(az, "%.*s", length, more);
        if (csv_number((csv_field){.text = more, .length = (uint32_t)length}, &value, &whole)) words.numbers = true;
        more += length + (more[length] == ',');
    }
    return words;
}

bool csv_missing(const missing_words *words, csv_field field)
{
    if (field.length == 0) return true;
    for (int i = 0; i < words->count; i++)
        if (words->word[i] && strncmp(words->word[i], field.text, field.length) == 0 && !words->word[i][field.length]) return true;
    return false;
}

/* ---- the different texts of a column ---- */

static uint64_t hash_text(const char *text, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

/* The slot of a text, or the free one where it belongs. */
static int64_t find_slot(const text_set *set, const char *text, size_t length, uint64_t hash)
{
    int64_t at = (int64_t)(hash & (uint64_t)(set->slots - 1));
    for (; set->slot[at]; at = (at + 1) & (set->slots - 1)) {
        const int32_t number = set->slot[at] - 1;
        if (set->hash[number] == hash && strlen(set->text[number]) == length && memcmp(set->text[number], text, length) == 0) break;
    }
    return at;
}

/* Twice the room, and slots for half as much again at least. */
static bool enlarge(az_ctx *az, text_set *set)
{
    if (set->room > INT32_MAX / 4) {
        az_fail(az, AZ_BAD_INPUT, "a column has more than %d different texts", set->room);
        return false;
    }
    const int32_t room = set->room ? 2 * set->room : 8;
    const char **text = az_alloc_array(az, (size_t)room, sizeof *text);
    uint64_t *hash = az_alloc_array(az, (size_t)room, sizeof *hash);
    int32_t *slot = az_alloc_array(az, (size_t)room * 2, sizeof *slot);
    if (!text || !hash || !slot) return false;
    for (int32_t i = 0; i < set->count; i++) text[i] = set->text[i], hash[i] = set->hash[i];
    *set = (text_set){
        .arena = set->arena, .count = set->count, .room = room, .text = text, .hash = hash, .slot = slot, .slots = 2 * (int64_t)room};
    for (int32_t i = 0; i < set->count; i++) slot[find_slot(set, text[i], strlen(text[i]), hash[i])] = i + 1;
    return true;
}

int32_t text_set_add(az_ctx *az, text_set *set, const char *text, size_t length)
{
    const uint64_t hash = hash_text(text, length);
    if (set->slots > 0) {
        const int64_t at = find_slot(set, text, length, hash);
        if (set->slot[at]) return set->slot[at] - 1;
    }
    if (set->arena) az_arena_enter(az, set->arena);
    char *copy = set->count < set->room || enlarge(az, set) ? az_alloc(az, length + 1) : NULL;
    if (set->arena) az_arena_leave(az);
    if (!copy) return -1;
    memcpy(copy, text, length);
    set->text[set->count] = copy;
    set->hash[set->count] = hash;
    set->slot[find_slot(set, text, length, hash)] = set->count + 1;
    return set->count++;
}
