// The journal of one worker of a run: a line of JSON per committed part, and the lock that keeps a
// second worker out.
#ifndef HW_JOURNAL_H
#define HW_JOURNAL_H

#include <stddef.h>

#include "formats/part.h"
#include "kernels/status.h"

struct hw_journal;

// Opens or creates FOLDER/journal-<shard>.jsonl, locks it and reads it. A line that a crash cut
// short is dropped. HW_OUTPUT: another process has it, and which.
enum hw_status hw_journal_open(const char *folder, size_t shard, struct hw_journal **ret_journal,
                               struct hw_error *err);
void hw_journal_close(struct hw_journal **journal);

size_t hw_journal_n_parts(const struct hw_journal *journal);
const struct hw_part_info *hw_journal_part(const struct hw_journal *journal, size_t i);
// The last line of that range, or NULL.
const struct hw_part_info *hw_journal_find(const struct hw_journal *journal, int32_t first,
                                           int32_t last);

// Appends a line and syncs it.
enum hw_status hw_journal_append(struct hw_journal *journal, const struct hw_part_info *part,
                                 struct hw_error *err);

#endif
