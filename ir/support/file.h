/* Files in and out.
 *
 * Inputs are mapped, reference counted and never copied. Outputs are written
 * to a temporary file in the target's folder and renamed on commit, so a
 * failure leaves an existing file untouched and no half file behind. */
#ifndef PRN_IR_SUPPORT_FILE_H
#define PRN_IR_SUPPORT_FILE_H

#include "ir/support/diag.h"

typedef struct prn_file prn_file;

/* Maps path read-only ("-" reads stdin into memory). Reports and fails when
 * it cannot be opened or is not a regular file (stdin excepted). */
PRN_NODISCARD prn_status prn_file_open(prn_diag_sink *sink, const char *path,
                                       prn_file **out);
/* Maps `location`, relative to folder `dir` ("" is the current one), refusing
 * absolute paths, "..", backslashes, symbolic links, files that have hard
 * links, and anything that is not a regular file. loc and subject say who
 * asked. */
PRN_NODISCARD prn_status prn_file_open_beneath(prn_diag_sink *sink,
                                               const char *dir,
                                               prn_str location, prn_loc loc,
                                               prn_str subject, prn_file **out);
/* Bytes [offset, offset+size) of f, which must lie in it, as a file of their
 * own called path. f is retained. */
prn_file *prn_file_part(prn_file *f, size_t offset, size_t size,
                        const char *path);
prn_file *prn_file_retain(prn_file *f);
void prn_file_release(prn_file *f); /* NULL is allowed */
prn_str prn_file_bytes(const prn_file *f);
/* As it was given, or folder/location. */
const char *prn_file_path(const prn_file *f);
/* The path of the file on disk ("-": none), and *offset in f as one there. */
const char *prn_file_origin(const prn_file *f, uint64_t *offset);
/* Tells the kernel that bytes [offset, offset+size) were used and may go. */
void prn_file_done(const prn_file *f, size_t offset, size_t size);

/* Both paths lead to one existing file. */
bool prn_path_same(const char *a, const char *b);
/* Appends path without '.', doubled slashes and "name/.." in it. With symbolic
 * links that may be another file: compare. */
void prn_path_clean(const char *path, prn_strbuf *out);

typedef struct prn_out prn_out;

/* Starts writing path ("-" is stdout). Nothing exists at path until commit.
 * A symbolic link is followed, a device, a pipe or what has no name any more is
 * written directly, and an existing file that may not be written is refused. */
PRN_NODISCARD prn_status prn_out_open(prn_diag_sink *sink, const char *path,
                                      prn_out **out);
/* The same for a path that the user did not name: a symbolic link is not
 * followed but replaced, and what is no file is refused. */
PRN_NODISCARD prn_status prn_out_open_beside(prn_diag_sink *sink,
                                             const char *path, prn_out **out);
/* Appends; an error is remembered and reported by commit. */
void prn_out_write(prn_out *o, const void *data, size_t size);
uint64_t prn_out_offset(const prn_out *o);
/* Flushes, renames into place and frees o, also on failure. */
PRN_NODISCARD prn_status prn_out_commit(prn_out *o);
/* The same for files that belong together: none is renamed before all are
 * written, then they are in this order. */
PRN_NODISCARD prn_status prn_out_commit_all(prn_out *const *outs, size_t n);
/* Removes what was written and frees o; NULL is allowed. */
void prn_out_abandon(prn_out *o);

#endif
