// Maps have the bytes of the file, and readers never leave them.
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "byte_buffer.h"
#include "formats/filemap.h"

START_TEST(map_has_the_bytes_of_the_file) {
    char *folder = temp_folder_new();
    char *path = temp_file(folder, "a", "hello", 5);
    struct hw_filemap *map = NULL;
    ck_assert_int_eq(hw_filemap_open(path, &map, NULL), HW_OK);
    ck_assert_uint_eq(map->n_bytes, 5);
    ck_assert_mem_eq(map->base, "hello", 5);
    ck_assert_str_eq(map->path, path);
    ck_assert(hw_filemap_is_current(map));
    free(temp_file(folder, "a", "longer than that", 16));
    ck_assert(!hw_filemap_is_current(map));
    hw_filemap_close(&map);
    ck_assert_ptr_null(map);
    hw_filemap_close(&map);
    free(path);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(empty_file_maps) {
    char *folder = temp_folder_new();
    char *path = temp_file(folder, "empty", "", 0);
    struct hw_filemap *map = NULL;
    ck_assert_int_eq(hw_filemap_open(path, &map, NULL), HW_OK);
    ck_assert_uint_eq(map->n_bytes, 0);
    ck_assert_ptr_nonnull(map->base);
    hw_filemap_close(&map);
    free(path);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(what_is_not_a_file_is_refused) {
    char *folder = temp_folder_new();
    char *pipe_path = temp_file(folder, "pipe", "", 0);
    char *link_path = temp_file(folder, "link", "", 0);
    ck_assert_int_eq(unlink(pipe_path), 0);
    ck_assert_int_eq(mkfifo(pipe_path, 0600), 0);
    ck_assert_int_eq(unlink(link_path), 0);
    ck_assert_int_eq(symlink("gone", link_path), 0);
    const struct {
        const char *path;
        const char *message;
    } cases[] = {
        {"/no/such/file", "/no/such/file: No such file or directory"},
        {folder, "expected a regular file, found a folder"},
        {pipe_path, "expected a regular file, found a device, pipe or socket"}, // and does not wait
        {link_path, "No such file or directory"},
        {"/dev/null", "expected a regular file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hw_filemap *map = NULL;
        struct hw_error err = {0};
        ck_assert_int_eq(hw_filemap_open(cases[i].path, &map, &err), HW_INPUT);
        ck_assert_ptr_null(map);
        ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "%s", err.message);
    }
    free(pipe_path);
    free(link_path);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(reader_stops_at_the_end) {
    static const unsigned char bytes[] = {1, 2, 3, 4, 5, 6, 7, 0x88, 9, 10, 11};
    for (size_t n = 0; n <= sizeof bytes; n++) {
        unsigned char *copy = byte_copy(bytes, n);
        struct hw_reader reader = {.base = copy, .n_bytes = n};
        uint64_t wide = 42;
        ck_assert_int_eq(hw_reader_u64(&reader, &wide), n >= 8);
        ck_assert(wide == (n >= 8 ? 0x8807060504030201 : 42));
        ck_assert_uint_eq(reader.at, n >= 8 ? 8 : 0);
        uint32_t narrow = 42;
        ck_assert_int_eq(hw_reader_u32(&reader, &narrow), n >= 4 && n < 8);
        const unsigned char *p = NULL;
        ck_assert(!hw_reader_take(&reader, UINT64_MAX, &p));
        ck_assert(!hw_reader_take(&reader, (uint64_t)hw_reader_left(&reader) + 1, &p));
        ck_assert_ptr_null(p);
        ck_assert(hw_reader_take(&reader, hw_reader_left(&reader), &p));
        ck_assert_uint_eq(hw_reader_left(&reader), 0);
        ck_assert(hw_reader_take(&reader, 0, &p));
        free(copy);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("filemap");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, map_has_the_bytes_of_the_file);
    tcase_add_test(tcase, empty_file_maps);
    tcase_add_test(tcase, what_is_not_a_file_is_refused);
    tcase_add_test(tcase, reader_stops_at_the_end);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
