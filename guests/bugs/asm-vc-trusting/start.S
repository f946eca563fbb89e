#include "../../asm-vc/start.S"
