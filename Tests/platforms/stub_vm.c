// As much of a VM as it takes to load the library and use a file with it, where there is no Erlang to be had: for a C
// library other than glibc. Prints a line for each thing that went well, and ends with 1 at the first that did not.
//
//   stub_vm LIBRARY FILE
//
// A term is a pointer to what it stands for; none is ever freed, but by the library's own resources.
#include <dlfcn.h>
#include <erl_nif.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { atom, integer, binary, tuple, list, resource };
struct term {
  enum kind kind;
  long number;
  size_t count;
  void *bytes;  // the text of an atom, the bytes of a binary, an object
  ERL_NIF_TERM *elements;
};
struct enif_resource_type_t {
  ErlNifResourceDtor *destructor;
};
// In front of each object.
struct object {
  ErlNifResourceType *type;
  long references;
};

static struct term *of(ERL_NIF_TERM term) { return (struct term *)term; }
static ERL_NIF_TERM make(enum kind kind, size_t count) {
  struct term *result = calloc(1, sizeof *result);
  result->kind = kind;
  result->count = count;
  return (ERL_NIF_TERM)result;
}
static struct object *object_of(void *bytes) { return (struct object *)bytes - 1; }

// What the library calls here.

// One term for each name: the library compares the words.
ERL_NIF_TERM enif_make_atom_len(ErlNifEnv *env, const char *name, size_t length) {
  static ERL_NIF_TERM atoms[256];
  static size_t count;
  for (size_t i = 0; i < count; i++) {
    if (of(atoms[i])->count == length && memcmp(of(atoms[i])->bytes, name, length) == 0) return atoms[i];
  }
  if (count == sizeof atoms / sizeof *atoms) abort();
  ERL_NIF_TERM result = atoms[count++] = make(atom, length);
  of(result)->bytes = strndup(name, length);
  return result;
}
ERL_NIF_TERM enif_make_atom(ErlNifEnv *env, const char *name) { return enif_make_atom_len(env, name, strlen(name)); }
ERL_NIF_TERM enif_make_long(ErlNifEnv *env, long value) {
  ERL_NIF_TERM result = make(integer, 1);
  of(result)->number = value;
  return result;
}
ERL_NIF_TERM enif_make_tuple_from_array(ErlNifEnv *env, const ERL_NIF_TERM elements[], unsigned count) {
  ERL_NIF_TERM result = make(tuple, count);
  of(result)->elements = calloc(count, sizeof *elements);
  memcpy(of(result)->elements, elements, count * sizeof *elements);
  return result;
}
ERL_NIF_TERM enif_make_copy(ErlNifEnv *env, ERL_NIF_TERM term) { return term; }
unsigned char *enif_make_new_binary(ErlNifEnv *env, size_t size, ERL_NIF_TERM *term) {
  *term = make(binary, size);
  return of(*term)->bytes = calloc(1, size + 1);
}
int enif_get_long(ErlNifEnv *env, ERL_NIF_TERM term, long *value) {
  *value = of(term)->number;
  return of(term)->kind == integer;
}
int enif_is_number(ErlNifEnv *env, ERL_NIF_TERM term) { return of(term)->kind == integer; }
int enif_inspect_binary(ErlNifEnv *env, ERL_NIF_TERM term, ErlNifBinary *result) {
  result->data = of(term)->bytes;
  result->size = of(term)->count;
  return of(term)->kind == binary;
}
void *enif_alloc(size_t size) { return malloc(size); }
void enif_free(void *memory) { free(memory); }
ErlNifEnv *enif_alloc_env(void) { return calloc(1, 1); }
void enif_free_env(ErlNifEnv *env) { free(env); }

ErlNifResourceType *enif_open_resource_type(ErlNifEnv *env, const char *module, const char *name,
                                            ErlNifResourceDtor *destructor, ErlNifResourceFlags flags,
                                            ErlNifResourceFlags *tried) {
  ErlNifResourceType *result = calloc(1, sizeof *result);
  result->destructor = destructor;
  return result;
}
ErlNifResourceType *enif_open_resource_type_x(ErlNifEnv *env, const char *name, const ErlNifResourceTypeInit *init,
                                              ErlNifResourceFlags flags, ErlNifResourceFlags *tried) {
  return enif_open_resource_type(env, NULL, name, init->dtor, flags, tried);
}
void *enif_alloc_resource(ErlNifResourceType *type, size_t size) {
  struct object *result = calloc(1, sizeof *result + size);
  result->type = type;
  result->references = 1;
  return result + 1;
}
void enif_release_resource(void *bytes) {
  if (--object_of(bytes)->references > 0) return;
  object_of(bytes)->type->destructor(NULL, bytes);
  free(object_of(bytes));
}
ERL_NIF_TERM enif_make_resource(ErlNifEnv *env, void *bytes) {
  object_of(bytes)->references++;
  ERL_NIF_TERM result = make(resource, 1);
  of(result)->bytes = bytes;
  return result;
}
int enif_get_resource(ErlNifEnv *env, ERL_NIF_TERM term, ErlNifResourceType *type, void **result) {
  *result = of(term)->bytes;
  return of(term)->kind == resource && object_of(*result)->type == type;
}
int enif_thread_create(char *name, ErlNifTid *thread, void *(*body)(void *), void *argument,
                       ErlNifThreadOpts *options) {
  return pthread_create((pthread_t *)thread, NULL, body, argument);
}
char *erl_errno_id(int error) { return error == 2 ? "enoent" : "other"; }

ERL_NIF_TERM enif_schedule_nif(ErlNifEnv *env, const char *name, int flags,
                               ERL_NIF_TERM (*function)(ErlNifEnv *, int, const ERL_NIF_TERM[]), int count,
                               const ERL_NIF_TERM arguments[]) {
  return function(env, count, arguments);
}

// What it has to find, and does not call here.
#define UNUSED(name)                       \
  void unused_##name(void) __asm__(#name); \
  void unused_##name(void) {               \
    puts("FAILED called: " #name);         \
    abort();                               \
  }
UNUSED(enif_alloc_binary)
UNUSED(enif_binary_to_term)
UNUSED(enif_compare)
UNUSED(enif_consume_timeslice)
UNUSED(enif_fprintf)
UNUSED(enif_get_list_cell)
UNUSED(enif_get_list_length)
UNUSED(enif_get_tuple)
UNUSED(enif_get_ulong)
UNUSED(enif_inspect_iolist_as_binary)
UNUSED(enif_inspect_iovec)
UNUSED(enif_is_current_process_alive)
UNUSED(enif_is_empty_list)
UNUSED(enif_is_identical)
UNUSED(enif_make_binary)
UNUSED(enif_make_list_cell)
UNUSED(enif_make_list_from_array)
UNUSED(enif_make_resource_binary)
UNUSED(enif_make_reverse_list)
UNUSED(enif_make_sub_binary)
UNUSED(enif_make_ulong)
UNUSED(enif_monitor_process)
UNUSED(enif_self)
UNUSED(enif_send)
UNUSED(enif_term_type)

// What is done with it.

static ErlNifEntry *entry;
static ErlNifEnv *env;

static ERL_NIF_TERM call(const char *name, unsigned arity, const ERL_NIF_TERM *arguments) {
  for (int i = 0; i < entry->num_of_funcs; i++) {
    if (strcmp(entry->funcs[i].name, name) == 0 && entry->funcs[i].arity == arity)
      return entry->funcs[i].fptr(env, (int)arity, arguments);
  }
  printf("FAILED there is no %s/%u\n", name, arity);
  exit(1);
}
#define CALL(name, ...) \
  call(name, sizeof((ERL_NIF_TERM[]){__VA_ARGS__}) / sizeof(ERL_NIF_TERM), (ERL_NIF_TERM[]){__VA_ARGS__})

static void check(const char *name, int holds) {
  printf("%s %s\n", holds ? "ok" : "FAILED", name);
  if (!holds) exit(1);
}

static ERL_NIF_TERM number(long value) { return enif_make_long(env, value); }
static ERL_NIF_TERM text(const char *bytes, size_t count) {
  ERL_NIF_TERM result;
  memcpy(enif_make_new_binary(env, count, &result), bytes, count);
  return result;
}
static int is_atom(ERL_NIF_TERM term, const char *name) { return term == enif_make_atom(env, name); }
static int is_error(ERL_NIF_TERM term, const char *reason) {
  return of(term)->kind == tuple && of(term)->count == 2 && is_atom(of(term)->elements[0], "error") &&
         is_atom(of(term)->elements[1], reason);
}
static int is_text(ERL_NIF_TERM term, const char *bytes) {
  size_t count = strlen(bytes);
  return of(term)->kind == binary && of(term)->count == count && memcmp(of(term)->bytes, bytes, count) == 0;
}
static ERL_NIF_TERM open_file(const char *path) {
  // write, create, shared; 16 pages of 64 KiB.
  return CALL("open", text(path, strlen(path) + 1), enif_make_atom(env, "name"), number(0), number(0),
              number(1 | 2 | 8), number(0), number(1 << 20), number(16 << 16), number(1 << 20));
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  setlinebuf(stdout);
  const char *path = arguments[2];
  void *library = dlopen(arguments[1], RTLD_NOW);
  if (library == NULL) puts(dlerror());
  check("the library is found complete", library != NULL);
  ErlNifEntry *(*init)(void) = (ErlNifEntry * (*)(void)) dlsym(library, "nif_init");
  entry = init();
  check("it is that of emmap_nif", strcmp(entry->name, "emmap_nif") == 0);
  env = enif_alloc_env();
  void *data = NULL;
  check("it is loaded", entry->load(env, &data, number(0)) == 0);

  check("a file that is not there is enoent", is_error(open_file("/nowhere/file"), "enoent"));
  ERL_NIF_TERM opened = open_file(path);
  check("a file is made", of(opened)->kind == tuple && is_atom(of(opened)->elements[0], "ok"));
  ERL_NIF_TERM file = of(opened)->elements[1];
  check("it is written", is_atom(CALL("pwrite", file, number(5), text("Hello", 5)), "ok"));
  check("it is read", is_text(CALL("pread", file, number(5), number(5)), "Hello"));
  check("a read across its end is shorter", of(CALL("pread", file, number((16 << 16) - 3), number(9)))->count == 3);
  check("a read past its end is eof", is_atom(CALL("pread", file, number(16 << 16), number(9)), "eof"));
  ERL_NIF_TERM add = enif_make_atom(env, "add");
  check("a word is added to", of(CALL("patomic", file, number(64), add, number(3)))->number == 0);
  check("a word is read", of(CALL("patomic_read", file, number(64)))->number == 3);
  check("it is brought to disk", is_atom(CALL("sync", file), "ok"));

  check("the file is cut short by somebody else", truncate(path, 1 << 16) == 0);
  check("what was cut off is truncated", is_error(CALL("pread", file, number(5 << 16), number(9)), "truncated"));
  check("to write there, too", is_error(CALL("pwrite", file, number(6 << 16), text("Hello", 5)), "truncated"));
  check("what is left is read", is_text(CALL("pread", file, number(5), number(5)), "Hello"));
  check("the file is long again", truncate(path, 16 << 16) == 0);
  ERL_NIF_TERM healed = CALL("remap", file);
  check("it is healed", of(healed)->kind == tuple && is_atom(of(healed)->elements[0], "ok"));
  check("it is written where it was cut", is_atom(CALL("pwrite", file, number(6 << 16), text("Hello", 5)), "ok"));
  check("it is read there", is_text(CALL("pread", file, number(6 << 16), number(5)), "Hello"));

  check("it is closed", is_atom(CALL("close", file), "ok"));
  check("a file that is closed answers so", is_error(CALL("pread", file, number(5), number(5)), "closed"));
  enif_release_resource(of(file)->bytes);
  puts("all went well");
  return 0;
}
