// What lies in RUN.h5.parts/: manifest.json, journal-<i>.jsonl, common.h5 (vocabulary and
// documents), part-<first>-<last>.h5, *.tmp.
#ifndef HW_RUN_FOLDER_H
#define HW_RUN_FOLDER_H

#include <stddef.h>

#include "formats/journal.h"
#include "formats/part.h"
#include "formats/trace_file.h"
#include "kernels/status.h"

// Parts by their names, in order, with their sizes; no hashes.
struct hw_part_list {
    struct hw_part_info *parts;
    size_t n;
};

// HW_INPUT where parts overlap, naming them.
enum hw_status hw_part_list_read(const char *folder, struct hw_part_list *ret_list,
                                 struct hw_error *err);
void hw_part_list_free(struct hw_part_list *list);

// Locks every journal of the folder, so that nobody writes there. HW_OUTPUT names who does. The
// caller closes them.
struct hw_journals {
    struct hw_journal **items;
    size_t n;
};
enum hw_status hw_journals_open(const char *folder, struct hw_journals *ret_journals,
                                struct hw_error *err);
void hw_journals_close(struct hw_journals *journals);
const struct hw_part_info *hw_journals_find(const struct hw_journals *journals, int32_t first,
                                            int32_t last);

// Makes the folder where there is none. HW_OUTPUT.
enum hw_status hw_run_folder_make(const char *folder, struct hw_error *err);
// A random UUID of version 4 (RFC 4122): run_id.
void hw_run_id_make(char ret_text[37]);

// Removes a folder that nobody is writing: HW_OUTPUT names who does.
enum hw_status hw_run_folder_clear(const char *folder, struct hw_error *err);
// Removes the folder: files of the names above, then the folder itself where nothing else is in it.
// No folder: nothing to do.
enum hw_status hw_run_folder_remove(const char *folder, struct hw_error *err);

// Writes common.h5: a capture of no prompts with the vocabulary (NULL: none). Nothing to do where
// it is there.
enum hw_status hw_run_folder_write_common(const char *folder, const struct hw_layout *layout,
                                          const struct hw_provenance *provenance,
                                          const struct hw_vocabulary *vocabulary,
                                          struct hw_error *err);

// Calls visit for each name in the folder until it returns false.
enum hw_status hw_run_folder_walk(const char *folder,
                                  bool (*visit)(const char *name, void *context), void *context,
                                  struct hw_error *err);

#endif
