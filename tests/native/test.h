/* test.h - the whole frame of a native test: CHECK counts, a failure is printed with its place, main returns
 * TEST_RESULT. CHECK_NEAR compares numbers. Tests run in one thread unless they say otherwise. */
#ifndef RZ_TEST_H
#define RZ_TEST_H
#include <math.h>
#include <stdio.h>

static int test_n_checks, test_n_failed;

#define CHECK(condition)                                                                                             \
    do {                                                                                                             \
        test_n_checks++;                                                                                             \
        if (!(condition)) {                                                                                          \
            if (test_n_failed++ < 20) fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);        \
        }                                                                                                            \
    } while (0)

#define CHECK_NEAR(got, expected, tolerance)                                                                         \
    do {                                                                                                             \
        const double got_ = (got), expected_ = (expected);                                                           \
        test_n_checks++;                                                                                             \
        if (!(fabs(got_ - expected_) <= (tolerance))) {                                                              \
            if (test_n_failed++ < 20) {                                                                              \
                fprintf(stderr, "%s:%d: %s is %.9g, expected %.9g\n", __FILE__, __LINE__, #got, got_, expected_);    \
            }                                                                                                        \
        }                                                                                                            \
    } while (0)

#define TEST_RESULT(name)                                                                                            \
    (printf("%s: %d checks, %d failed\n", name, test_n_checks, test_n_failed), test_n_failed == 0 ? 0 : 1)

#endif
