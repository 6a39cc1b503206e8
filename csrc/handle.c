/* handle.c - the table of handles. An id is generation << 12 | slot; generations start at 1, so no id is 0, and an id
 * comes again only after its slot was used 524,287 times. */
#include "handle.h"
#include "os.h"
#include <stdatomic.h>

#define SLOT_BITS 12u
#define SLOTS (1u << SLOT_BITS)
#define GENERATIONS (1u << (31u - SLOT_BITS))

typedef struct slot {
    rz_object *object; /* NULL = free */
    uint32_t generation;
    uint32_t next_free; /* a queue: the slot that is free the longest comes first */
} slot;

static rz_mutex table_lock = RZ_MUTEX_INIT;
static rz_cond table_changed = RZ_COND_INIT; /* a pin or a child went away */
static slot slots[SLOTS];
static uint32_t n_fresh; /* slots ever used */
static uint32_t n_free, free_first, free_last;
static uint32_t n_objects[RZ_KINDS];
static atomic_uint owner_process;

rz_status rz_handle_process(const char *function) {
    const uint32_t owner = atomic_load(&owner_process);
    if (owner == 0 || owner == rz_process_id()) return RZ_OK;
    return rz_fail(RZ_E_FORKED, "%s: this process was forked from the one that opened the engine", function);
}

static bool slot_take(uint32_t *index) {
    if (n_fresh < SLOTS) {
        *index = n_fresh++;
        return true;
    }
    if (n_free == 0) return false;
    *index = free_first;
    free_first = slots[*index].next_free;
    n_free--;
    return true;
}

static void slot_give(uint32_t index) {
    if (n_free++ == 0) free_first = index;
    else slots[free_last].next_free = index;
    free_last = index;
}

rz_status rz_handle_open(rz_object *object, const rz_class *class, rz_object *parent) {
    uint32_t expected = 0, index = 0;
    atomic_compare_exchange_strong(&owner_process, &expected, rz_process_id());
    rz_mutex_lock(&table_lock);
    rz_status status = RZ_OK;
    if (parent != NULL && parent->closing) {
        status = rz_fail(RZ_E_CLOSED, "%s: its %s was closed meanwhile", class->name, parent->class->name);
    } else if (!slot_take(&index)) {
        status = rz_fail(RZ_E_LIMIT, "%s: %u handles are open, no more are possible", class->name, SLOTS);
    } else {
        slot *s = &slots[index];
        s->generation = s->generation + 1 < GENERATIONS ? s->generation + 1 : 1;
        s->object = object;
        *object = (rz_object){.class = class, .parent = parent, .id = s->generation << SLOT_BITS | index};
        n_objects[class->kind]++;
        if (parent != NULL) {
            object->next_sibling = parent->first_child;
            parent->first_child = object;
            parent->n_children++;
        }
    }
    rz_mutex_unlock(&table_lock);
    return status;
}

/* With the lock held. */
static rz_status find(const char *function, uint32_t id, rz_kind kind, rz_object **out) {
    static const char *const names[RZ_KINDS] = {"an engine", "weights", "a plan", "a cache"};
    const slot *s = &slots[id % SLOTS];
    rz_object *o = s->object;
    if (id == 0) return rz_fail(RZ_E_HANDLE, "%s: handle 0, expected %s", function, names[kind]);
    if (o == NULL || o->id != id || o->closing) {
        return rz_fail(RZ_E_HANDLE, "%s: handle %u is not open, expected %s", function, id, names[kind]);
    }
    if (o->class->kind != kind) {
        return rz_fail(RZ_E_HANDLE, "%s: handle %u is %s, expected %s", function, id, names[o->class->kind],
                       names[kind]);
    }
    *out = o;
    return RZ_OK;
}

rz_status rz_handle_pin(const char *function, uint32_t id, rz_kind kind, rz_object **out) {
    *out = NULL;
    rz_status status = rz_handle_process(function);
    if (status != RZ_OK) return status;
    rz_mutex_lock(&table_lock);
    status = find(function, id, kind, out);
    if (status == RZ_OK) (*out)->n_pins++;
    rz_mutex_unlock(&table_lock);
    return status;
}

void rz_handle_unpin(rz_object *object) {
    if (object == NULL) return;
    rz_mutex_lock(&table_lock);
    if (--object->n_pins == 0 && object->closing) rz_cond_broadcast(&table_changed);
    rz_mutex_unlock(&table_lock);
}

/* Puts an object and what is below it on the list of things to close, each before its children, and makes their ids
 * stale. What another thread closes already is left to that thread. Returns the new end of the list. */
static rz_object **mark(rz_object *object, rz_object **end) {
    if (object->closing) return end;
    object->closing = true;
    *end = object;
    end = &object->next_closing;
    for (rz_object *child = object->first_child; child != NULL; child = child->next_sibling) end = mark(child, end);
    return end;
}

/* Takes an object out of the table and of its parent's list; its slot is not free yet. */
static void forget(rz_object *object) {
    rz_object *parent = object->parent;
    slots[object->id % SLOTS].object = NULL;
    if (parent == NULL) return;
    rz_object **at = &parent->first_child;
    while (*at != object) at = &(*at)->next_sibling;
    *at = object->next_sibling;
}

static void destroy(rz_object *object) {
    rz_object *const parent = object->parent;
    const uint32_t index = object->id % SLOTS;
    const rz_kind kind = object->class->kind;
    rz_mutex_lock(&table_lock);
    while (object->n_pins > 0 || object->n_children > 0) rz_cond_wait(&table_changed, &table_lock);
    forget(object);
    rz_mutex_unlock(&table_lock);
    object->class->destroy(object);
    rz_mutex_lock(&table_lock);
    slot_give(index);
    n_objects[kind]--;
    if (parent != NULL) parent->n_children--;
    rz_cond_broadcast(&table_changed);
    rz_mutex_unlock(&table_lock);
}

rz_status rz_handle_close(const char *function, uint32_t id, rz_kind kind) {
    rz_object *first = NULL;
    rz_status status = rz_handle_process(function);
    if (status != RZ_OK) return status;
    rz_mutex_lock(&table_lock);
    status = find(function, id, kind, &first);
    if (status == RZ_OK) *mark(first, &first) = NULL;
    rz_mutex_unlock(&table_lock);
    if (status != RZ_OK) return status;
    rz_object *reversed = NULL;
    for (rz_object *o = first, *next; o != NULL; o = next) {
        next = o->next_closing;
        o->class->stop(o);
        o->next_closing = reversed;
        reversed = o;
    }
    for (rz_object *o = reversed, *next; o != NULL; o = next) {
        next = o->next_closing;
        destroy(o);
    }
    return RZ_OK;
}

void rz_handle_stats(rz_stats *out) {
    rz_mutex_lock(&table_lock);
    out->n_engines = n_objects[RZ_KIND_ENGINE];
    out->n_weights = n_objects[RZ_KIND_WEIGHTS];
    out->n_plans = n_objects[RZ_KIND_PLAN];
    out->n_caches = n_objects[RZ_KIND_CACHE];
    rz_mutex_unlock(&table_lock);
}
