/* The texts of abi.h and prune_pool.h, for generated headers. Made by CMake. */
#ifndef PRN_BACKENDS_LLVM_ABI_TEXT_H
#define PRN_BACKENDS_LLVM_ABI_TEXT_H

#include <stddef.h>

extern const char prn_abi_text[];
extern const size_t prn_abi_text_size;
extern const char prn_pool_text[];
extern const size_t prn_pool_text_size;

#endif
