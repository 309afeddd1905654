/* claims.h - the executable claims, one file each, listed in claims.c. */
#ifndef ADZE_CLAIMS_H
#define ADZE_CLAIMS_H

#include "adze/method.h"

#endif
