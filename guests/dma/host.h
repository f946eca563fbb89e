/* What a program can do about devices if it is the host itself. */
#pragma once

#include <stdbool.h>

/* Is there SME? A guest has none. */
bool host_present(void);
void host_main(void);
