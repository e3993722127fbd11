/* Files of this folder that go beside every program, as data: what is in
 * device/ and host/. */
#ifndef PRN_BACKENDS_CUDA_TEXTS_H
#define PRN_BACKENDS_CUDA_TEXTS_H

#include <stddef.h>

typedef struct prn_cu_file {
  const char *name; /* NULL ends the list */
  const char *data; /* @NAME@ in it stands for the model's prefix */
  size_t size;
} prn_cu_file;
extern const prn_cu_file prn_cu_files[];

#endif
