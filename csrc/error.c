/* error.c - the message of this thread's last failure. */
#include "error.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[RZ_MESSAGE_BYTES];

/* A message cut in the middle of a UTF-8 character (a path may hold any) ends before that character. */
static void trim_utf8(char *text) {
    size_t n = strlen(text), tail = 0;
    while (tail < n && tail < 3 && ((uint8_t)text[n - 1 - tail] & 0xC0) == 0x80) tail++;
    if (tail == n) return;
    const uint8_t lead = (uint8_t)text[n - 1 - tail];
    const size_t wanted = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (wanted > tail) text[n - 1 - tail] = 0;
}

rz_status rz_fail(rz_status status, const char *format, ...) {
    char text[RZ_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0) text[0] = 0;
    if (n >= (int)sizeof text) trim_utf8(text);
    memcpy(message, text, strlen(text) + 1); /* after formatting: an argument may be the old message */
    return status;
}

const char *rz_fail_message(void) { return message; }

void rz_fail_set(const char *text) {
    size_t n = strlen(text);
    if (n >= sizeof message) n = sizeof message - 1;
    memmove(message, text, n);
    message[n] = 0;
    if (text[n] != 0) trim_utf8(message);
}

RZ_API uint32_t rz_error_read(uint8_t *out, uint32_t cap) {
    const size_t length = strlen(message);
    const uint32_t n = length < cap ? (uint32_t)length : cap;
    if (n > 0) memcpy(out, message, n);
    return n;
}
