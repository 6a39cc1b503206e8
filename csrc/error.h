/* error.h - internal: the message of this thread's last failure. */
#ifndef RZ_ERROR_H
#define RZ_ERROR_H
#include "realizar.h"

#define RZ_MESSAGE_BYTES 512u

/* Sets the message ("function or place: what, got, expected") and returns the status, which must not be RZ_OK.
 * Internal functions return a positive rz_status; the ABI returns its negative. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
rz_status rz_fail(rz_status status, const char *format, ...);

/* The message set last on this thread (for storing it in a ticket), and putting such a message back. */
const char *rz_fail_message(void);
void rz_fail_set(const char *message);

#endif
