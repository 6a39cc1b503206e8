/* backends.h - internal: which executors this build has. */
#ifndef RZ_BACKENDS_H
#define RZ_BACKENDS_H
#include "backend.h"
#include "error.h"

/* UNSUPPORTED for one that is not in this build, ARG for an unknown id. */
rz_status rz_backend_find(uint32_t id, const rz_backend **out);

#endif
