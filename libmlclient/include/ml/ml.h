// Everything of mlaccel's C++ API. docs/guide.md is the introduction.
#pragma once

#include "ml/data.h"
#include "ml/dtype.h"
#include "ml/error.h"
#include "ml/grad.h"
#include "ml/model.h"
#include "ml/nn.h"
#include "ml/ops.h"
#include "ml/optim.h"
#include "ml/random.h"
#include "ml/session.h"
#include "ml/shape.h"
#include "ml/tensor.h"
#include "ml/train.h"
