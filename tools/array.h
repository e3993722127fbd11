/* Named arrays in and out: .npy and .npz files.
 *
 * Formats: NumPy's NPY 1.0-3.0 (numpy.lib.format) in C order; NPZ is a ZIP
 * archive of them, stored or deflated. Files are untrusted: every size is
 * checked against the file before memory is asked for. */
#ifndef PRN_TOOLS_ARRAY_H
#define PRN_TOOLS_ARRAY_H

#include "ir/context.h"
#include "ir/type.h"

enum { PRN_ARRAY_MAX_RANK = 32 };

typedef struct prn_array {
  prn_str name; /* interned: member name without ".npy" */
  prn_dtype dtype;
  int32_t rank;
  int64_t dims[PRN_ARRAY_MAX_RANK];
  int64_t count; /* product of dims */
  size_t bytes;
  void *data; /* prn_alloc'ed, aligned to 16 */
} prn_array;

typedef struct prn_arrays {
  prn_array *items;
  size_t size;
} prn_arrays;

/* An array of zeros; false when the size overflows or there is no memory. */
PRN_NODISCARD bool prn_array_init(prn_array *a, prn_str name, prn_dtype dtype,
                                  int32_t rank, const int64_t *dims);
/* The same array again; false when there is no memory. */
PRN_NODISCARD bool prn_array_copy(const prn_array *a, prn_array *out);
void prn_array_destroy(prn_array *a);
void prn_arrays_destroy(prn_arrays *a);
/* Moves a into the list. */
void prn_arrays_add(prn_arrays *list, prn_array a);
/* NULL when there is none of that name. */
prn_array *prn_arrays_find(const prn_arrays *list, prn_str name);

/* Reads one .npy file. name is not set. */
PRN_NODISCARD prn_status prn_array_load_npy(prn_ctx *ctx, const char *path,
                                            prn_array *out);
/* Appends every member of an .npz file. */
PRN_NODISCARD prn_status prn_arrays_load_npz(prn_ctx *ctx, const char *path,
                                             prn_arrays *out);
/* Writes all arrays, stored (not deflated), in order: the same bytes for the
 * same arrays. */
PRN_NODISCARD prn_status prn_arrays_save_npz(prn_ctx *ctx, const char *path,
                                             const prn_arrays *arrays);

#endif
