/* The part of the driver that tests call themselves. */
#ifndef PRN_TEST_CUDA_MOCKED_H
#define PRN_TEST_CUDA_MOCKED_H

#include <stddef.h>

int cuInit(unsigned flags);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxRelease_v2(int device);
int cuCtxPushCurrent_v2(void *context);
int cuCtxPopCurrent_v2(void **context);
int cuMemAlloc_v2(unsigned long long *out, size_t size);
int cuMemFree_v2(unsigned long long p);
int cuStreamCreate(void **out, unsigned flags);
int cuStreamDestroy_v2(void *stream);
int cuStreamSynchronize(void *stream);
int cuStreamBeginCapture_v2(void *stream, int mode);
int cuStreamEndCapture(void *stream, void **graph);
int cuGraphInstantiateWithFlags(void **out, void *graph,
                                unsigned long long flags);
int cuGraphLaunch(void *instance, void *stream);
int cuGraphExecDestroy(void *instance);
int cuGraphDestroy(void *graph);

#endif
