/* Safetensors: round trips, the layout byte by byte, every kind of damage, and files that other programs wrote. */
#include "adze/data.h"
#include "support/data.h"
#include "support/folder.h"
#include "support/second_reader.h"

#include <criterion/criterion.h>
#include <string.h>

static az_safetensors *parse(az_ctx *az, const char *header, size_t data_bytes)
{
    const size_t length = strlen(header);
    unsigned char *bytes = az_alloc(az, 8 + length + data_bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, length);
    return az_safetensors_parse(az, bytes, 8 + length + data_bytes);
}

static void write_sample(az_ctx *az, const char *path)
{
    const float matrix[] = {1, 2, 3, 4, 5, 6};
    const int64_t number = -7;
    const uint8_t odd[] = {9, 8, 7};
    az_safetensors_writer *writer = az_safetensors_create(az, path);
    cr_assert(az_safetensors_put_metadata(writer, "format", "pt"));
    cr_assert(az_safetensors_declare(writer, "a.matrix", AZ_F32, 2, (const int64_t[]){2, 3}));
    cr_assert(az_safetensors_declare(writer, "b.odd", AZ_U8, 1, (const int64_t[]){3}));
    cr_assert(az_safetensors_declare(writer, "c.empty", AZ_F16, 2, (const int64_t[]){0, 4}));
    cr_assert(az_safetensors_declare(writer, "d.number", AZ_I64, 0, NULL));
    for (int r = 0; r < 2; r++)
        cr_assert(az_safetensors_write_rows(writer, az_from(az, AZ_F32, 2, (const int64_t[]){1, 3}, matrix + 3 * r)));
    cr_assert(az_safetensors_write(writer, az_from(az, AZ_U8, 1, (const int64_t[]){3}, odd)));
    cr_assert(az_safetensors_write(writer, az_tensor_new(az, AZ_F16, 2, (const int64_t[]){0, 4})));
    cr_assert(az_safetensors_write(writer, az_from(az, AZ_I64, 0, NULL, &number)));
    cr_assert(az_safetensors_commit(writer), "%s", az_error(az));
}

Test(safetensors, what_is_written_is_read_again)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "sample.safetensors");
    write_sample(az, path);
    const az_safetensors *file = az_safetensors_read(az, path);
    cr_assert(file && file->count == 4 && file->metadata_count == 1, "%s", az_error(az));
    cr_assert_str_eq(file->metadata[0].key, "format");
    cr_assert_str_eq(file->metadata[0].value, "pt");
    const az_tensor *matrix = az_safetensors_find(file, "a.matrix"), *number = az_safetensors_find(file, "d.number");
    cr_assert(matrix && matrix->rank == 2 && matrix->shape[1] == 3 && az_item(matrix, 5) == 6);
    cr_assert_eq(az_item(number, 0), -7, "not aligned in the file");
    cr_assert_eq(az_item(az_safetensors_find(file, "b.odd"), 2), 7);
    cr_assert_eq(az_count(az_safetensors_find(file, "c.empty")), 0);
    cr_assert_null(az_safetensors_find(file, "b"));
    az_close(az);
}

Test(safetensors, the_layout_is_the_documented_one)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "sample.safetensors");
    write_sample(az, path);
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},\"a.matrix\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                         "\"b.odd\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[24,27]},"
                         "\"c.empty\":{\"dtype\":\"F16\",\"shape\":[0,4],\"data_offsets\":[27,27]},"
                         "\"d.number\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[27,35]}}";
    const az_map *map = az_map_file(az, path);
    const size_t padded = (8 + strlen(header) + 63) / 64 * 64 - 8; /* data begin at a multiple of 64 */
    cr_assert_eq(map->size, 8 + padded + 35);
    cr_assert_eq(map->data[0] | map->data[1] << 8, (int)padded);
    cr_assert_eq(memcmp(map->data + 8, header, strlen(header)), 0, "%.*s", (int)padded, map->data + 8);
    for (size_t i = strlen(header); i < padded; i++) cr_assert_eq(map->data[8 + i], ' ');
    az_close(az);
}

Test(safetensors, another_program_reads_what_is_written)
{
    az_ctx *az = az_open(NULL);
    needs_numpy();
    const char *path = test_path(az, test_folder(az), "sample.safetensors");
    write_sample(az, path);
    check_safetensors(az, path, NULL);
    az_close(az);
}

/* A header, the bytes of data behind it, and what the error must say (NULL: it is good). */
typedef struct header_case {
    const char *header;
    size_t bytes;
    const char *error;
} header_case;

Test(safetensors, damaged_headers_are_refused)
{
    static const header_case cases[] = {
        {"{}", 0, NULL},
        {"{\"b\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[1,3]},\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 3,
         NULL},
        {"[]", 0, "begin with '{'"},
        {"{", 0, "not JSON"},
        {"{\"a\":1}", 0, "dtype"},
        {"{}", 5, "5 bytes follow"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "metadata 'a'"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1,
         "duplicate"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "F8_E4M3"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "no size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4, "no size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "no size"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "7 axes"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, "do not lie"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 1, "do not lie"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}}", 1, "not JSON"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "no two numbers"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1, "type and shape make 2"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "ends at 0"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3,
         "ends at 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const az_safetensors *file = parse(az, cases[i].header, cases[i].bytes);
        if (!cases[i].error)
            cr_assert_not_null(file, "%s: %s", cases[i].header, az_error(az));
        else
            cr_assert(!file && strstr(az_error(az), cases[i].error), "%s: %s", cases[i].header, az_error(az));
        az_close(az);
    }
}

Test(safetensors, lengths_beyond_the_file_are_refused)
{
    az_ctx *az = az_open(NULL);
    unsigned char bytes[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    cr_assert_null(az_safetensors_parse(az, bytes, sizeof bytes));
    cr_assert_not_null(strstr(az_error(az), "exceeds the file's 16 bytes"));
    az_clear(az);
    memset(bytes, 255, 8);
    cr_assert_null(az_safetensors_parse(az, bytes, sizeof bytes));
    az_clear(az);
    cr_assert_null(az_safetensors_parse(az, bytes, 7));
    az_close(az);
}

Test(safetensors, a_writer_keeps_to_its_declarations)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "bad.safetensors");
    az_safetensors_writer *writer = az_safetensors_create(az, path);
    cr_assert(az_safetensors_declare(writer, "b", AZ_F32, 1, (const int64_t[]){2}));
    cr_assert_not(az_safetensors_declare(writer, "a", AZ_F32, 1, (const int64_t[]){2}));
    az_clear(az);
    cr_assert_not(az_safetensors_write(writer, az_new1(az, AZ_F32, 3)));
    az_clear(az);
    cr_assert(az_safetensors_write_rows(writer, az_new1(az, AZ_F32, 1)));
    cr_assert_not(az_safetensors_write_rows(writer, az_new1(az, AZ_F32, 2)));
    az_clear(az);
    cr_assert_not(az_safetensors_commit(writer));
    cr_assert_not_null(strstr(az_error(az), "'b' was declared, but not written to its end"));
    az_close(az);
}

Test(safetensors, a_published_model_is_read)
{
    az_ctx *az = az_open(NULL);
    const az_safetensors *file = az_safetensors_read(az, test_data(az, "models/capp-gpt2/model.safetensors"));
    cr_assert_not_null(file, "%s", az_error(az));
    int64_t values = 0;
    for (int64_t i = 0; i < file->count; i++) values += az_count(file->item[i].value);
    cr_assert_eq(values, 236224);
    az_close(az);
}
