/* The NPY encoding of one array, for the two files that read and write it. */
#ifndef PRN_TOOLS_NPY_H
#define PRN_TOOLS_NPY_H

#include "tools/array.h"

/* Decodes a whole .npy file; subject names the archive member in messages. */
PRN_NODISCARD prn_status prn_npy_decode(prn_diag_sink *sink, const char *path,
                                        prn_str subject, prn_str bytes,
                                        prn_array *out);
/* Appends the header that goes before a's data. */
void prn_npy_header(const prn_array *a, prn_strbuf *out);

#endif
