// SPDX-License-Identifier: GPL-2.0
/* The suites of the module's pure parts, as one module that runs when it is loaded. */
#include <kunit/test.h>
#include <linux/module.h>

#include "suites.h"

kunit_test_suites(&mlaccel_account_suite, &mlaccel_pool_suite,
		  &mlaccel_progress_suite, &mlaccel_marks_suite);

MODULE_DESCRIPTION("KUnit suites of mlaccel");
MODULE_LICENSE("GPL");
