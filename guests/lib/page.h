/* The size of a page, and variables that own their page(s). */
#pragma once

#define PAGE_SIZE    4096
#define PAGE_ALIGNED __attribute__((aligned(PAGE_SIZE)))
