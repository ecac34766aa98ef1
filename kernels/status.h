// Status and message: how every function of the library that can fail says so.
//
// A function that can fail returns enum hw_status and fills a struct hw_error of the caller's (NULL
// where the message is not wanted). The message is one sentence without a final stop, with expected
// and found values. Callers add context in front.
#ifndef HW_STATUS_H
#define HW_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

// The values below 100 are exit codes of the command line; tools return them unchanged.
enum hw_status {
    HW_OK = 0,
    HW_WRONG = 1,    // a check found something wrong (verify, compare)
    HW_USAGE = 2,    // the caller's options or arguments
    HW_INPUT = 3,    // a file or its content is not what it should be
    HW_RESOURCE = 4, // not enough memory, or no such device
    HW_OUTPUT = 5,   // cannot be written, exists, is locked, or belongs to another run
    HW_PARTIAL = 6,  // finished, but some prompts failed
    HW_STOPPED = 7,  // stopped by a signal after committing; tools exit with 128 + signal
    HW_INTERNAL = 8, // a bug of ours
};

enum { HW_ERROR_BYTES = 1024 };

struct hw_error {
    enum hw_status status;
    char message[HW_ERROR_BYTES]; // UTF-8, NUL-terminated, cut to fit
};

// Fills err (may be NULL) and returns status, so that callers write: return hw_fail(err, HW_INPUT,
// "...", ...).
enum hw_status hw_fail(struct hw_error *err, enum hw_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Puts context in front of a message that is already there ("file.gguf: " + message); returns
// err->status, or `status` where err is NULL.
enum hw_status hw_fail_context(struct hw_error *err, enum hw_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Whether a Unicode code point is not seen or moves what is seen: control, format and bidirectional
// characters, line and paragraph separators, private use and unassigned ones, and what Unicode lets
// a display ignore.
int hw_is_hidden(int code);

// Writes text from a file in a form that is safe on a terminal: control characters of ASCII and
// invalid UTF-8 as \xNN, other hidden characters as \u{NNNN}, cut to fit with "...". At most four
// bytes for each of `bytes`. Returns ret_text.
const char *hw_escape(char *ret_text, unsigned long text_bytes, const char *bytes,
                      unsigned long n_bytes);

#ifdef __cplusplus
}
#endif
#endif
