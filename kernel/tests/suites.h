/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MLACCEL_TESTS_SUITES_H
#define MLACCEL_TESTS_SUITES_H

#include <kunit/test.h>

extern struct kunit_suite mlaccel_account_suite;
extern struct kunit_suite mlaccel_pool_suite;
extern struct kunit_suite mlaccel_progress_suite;
extern struct kunit_suite mlaccel_marks_suite;

#endif
