/* handle.h - internal: from the ids of the ABI to objects, safe against any order of calls and closes on any thread.
 *
 * An object's id is stale from the moment its close begins. A call that found the object before has *pinned* it: the
 * close waits for such calls (telling those that wait for something to give up) before it frees anything. A parent
 * outlives its children. No lock is held while an object is stopped or destroyed. */
#ifndef RZ_HANDLE_H
#define RZ_HANDLE_H
#include "error.h"
#include "realizar.h"
#include <stdbool.h>

typedef enum rz_kind { RZ_KIND_ENGINE, RZ_KIND_WEIGHTS, RZ_KIND_PLAN, RZ_KIND_CACHE } rz_kind;
#define RZ_KINDS 4

typedef struct rz_object rz_object;

typedef struct rz_class {
    rz_kind kind;
    const char *name;
    /* Asks running work and waiting calls of the object to end, soon; called once, before the objects below stop. */
    void (*stop)(rz_object *object);
    /* Waits for the rest of its work and frees everything; no call knows the object any more, nothing is below it. */
    void (*destroy)(rz_object *object);
} rz_class;

/* The first member of every object. Private to handle.c but for reading class and parent. */
struct rz_object {
    const rz_class *class;
    rz_object *parent; /* NULL for an engine */
    uint32_t id;
    uint32_t n_pins;
    uint32_t n_children;
    bool closing;
    rz_object *first_child, *next_sibling;
    rz_object *next_closing;
};

/* Gives a finished object its id (from now on other threads may use and close it). The parent is pinned by the
 * caller. LIMIT when there are too many objects, CLOSED when the parent is being closed; then the caller frees it. */
rz_status rz_handle_open(rz_object *object, const rz_class *class, rz_object *parent);

/* Finds the object of an id and pins it: HANDLE, or FORKED. `function` is for the message. */
rz_status rz_handle_pin(const char *function, uint32_t id, rz_kind kind, rz_object **out);
void rz_handle_unpin(rz_object *object); /* NULL is fine */

/* Closes an object and all below it; returns when their memory is freed. */
rz_status rz_handle_close(const char *function, uint32_t id, rz_kind kind);

/* FORKED in a process forked from the one that opened the first engine. */
rz_status rz_handle_process(const char *function);

/* Writes the counts of objects. */
void rz_handle_stats(rz_stats *out);

#endif
