/* flip without the flush: right where hardware keeps the views of a page coherent, and only there. */
#define FLUSH 0
#include "../flip/flip.c"
