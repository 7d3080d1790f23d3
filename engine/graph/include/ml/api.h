// Marks what libmlclient.so exports; everything else is compiled with hidden visibility.
#pragma once

#define ML_API __attribute__((visibility("default")))
