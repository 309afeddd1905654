/* adze.h - the whole library. */
#ifndef ADZE_H
#define ADZE_H

#include "adze/base.h"
#include "adze/tensor.h"
#include "adze/grad.h"
#include "adze/linalg.h"
#include "adze/weight.h"
#include "adze/optim.h"
#include "adze/data.h"
#include "adze/lm.h"
#include "adze/backend.h"
#include "adze/method.h"
#include "adze/ssm.h"
#include "adze/vi.h"
#include "adze/guard.h"

#endif
