#ifndef EMMAP_CERLNIF_H
#define EMMAP_CERLNIF_H

#include <erl_driver.h>  // erl_errno_id: the atoms of errno values, as `file` gives them
#include <erl_nif.h>
#include <stdio.h>

// What Swift cannot see of erl_nif.h: variadic functions and macros that stand for strings.

static inline const char *nif_vm_variant(void) { return ERL_NIF_VM_VARIANT; }
static inline const char *nif_min_erts_version(void) { return ERL_NIF_MIN_ERTS_VERSION; }

static inline void nif_print(const char *event, ERL_NIF_TERM term) { enif_fprintf(stderr, "emmap: %s %T\n", event, term); }

#endif
