// Marks what libmlclient.so exports; everything else in it is hidden.
#pragma once

#define ML_API __attribute__((visibility("default")))
