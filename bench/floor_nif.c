// What a call costs before it does anything: NIFs for the benchmark to measure against, with no checks but those of
// their argument types.
#include <erl_nif.h>
#include <string.h>

static ErlNifResourceType *type;
static ERL_NIF_TERM ok;

// The object of a handle. The copies read and write its bytes.
struct handle {
  char bytes[4096];
};

static ERL_NIF_TERM open(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  (void)argc, (void)argv;
  void *object = enif_alloc_resource(type, sizeof(struct handle));
  memset(object, 'x', sizeof(struct handle));
  ERL_NIF_TERM term = enif_make_resource(env, object);
  enif_release_resource(object);
  return term;
}

// N: decodes a handle and two integers and returns an integer.
static ERL_NIF_TERM call(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  (void)argc;
  void *object;
  long first, second;
  if (!enif_get_resource(env, argv[0], type, &object) || !enif_get_long(env, argv[1], &first) ||
      !enif_get_long(env, argv[2], &second))
    return enif_make_badarg(env);
  return enif_make_long(env, first ^ second);
}

// N, and an atomic addition to a word: the least that an atomic operation can cost.
static ERL_NIF_TERM add(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  (void)argc;
  void *object;
  long offset, value;
  if (!enif_get_resource(env, argv[0], type, &object) || !enif_get_long(env, argv[1], &offset) ||
      !enif_get_long(env, argv[2], &value))
    return enif_make_badarg(env);
  return enif_make_long(env, __atomic_fetch_add((long *)((struct handle *)object)->bytes + offset / 8, value,
                                                __ATOMIC_SEQ_CST));
}

// N, and {ok, Binary} with a copy of some bytes: the least that a copying read of up to 64 bytes can cost.
static ERL_NIF_TERM copy(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  (void)argc;
  void *object;
  long offset, count;
  if (!enif_get_resource(env, argv[0], type, &object) || !enif_get_long(env, argv[1], &offset) ||
      !enif_get_long(env, argv[2], &count))
    return enif_make_badarg(env);
  ERL_NIF_TERM binary;
  memcpy(enif_make_new_binary(env, count, &binary), ((struct handle *)object)->bytes + offset, count);
  return enif_make_tuple2(env, ok, binary);
}

// N with a binary in the place of the second integer, which is copied: the least that a write can cost.
static ERL_NIF_TERM put(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  (void)argc;
  void *object;
  long offset;
  ErlNifBinary binary;
  if (!enif_get_resource(env, argv[0], type, &object) || !enif_get_long(env, argv[1], &offset) ||
      !enif_inspect_binary(env, argv[2], &binary))
    return enif_make_badarg(env);
  memcpy(((struct handle *)object)->bytes + offset, binary.data, binary.size);
  return ok;
}

// {ok, Binary} with a binary that points into the object: the least that a direct read can cost.
static ERL_NIF_TERM point(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  (void)argc;
  void *object;
  long offset, count;
  if (!enif_get_resource(env, argv[0], type, &object) || !enif_get_long(env, argv[1], &offset) ||
      !enif_get_long(env, argv[2], &count))
    return enif_make_badarg(env);
  return enif_make_tuple2(
      env, ok, enif_make_resource_binary(env, object, ((struct handle *)object)->bytes + offset, count));
}

static int load(ErlNifEnv *env, void **data, ERL_NIF_TERM info) {
  (void)data, (void)info;
  type = enif_open_resource_type(env, NULL, "emmap_bench_floor", NULL, ERL_NIF_RT_CREATE, NULL);
  ok = enif_make_atom(env, "ok");
  return type == NULL;
}

static ErlNifFunc functions[] = {
    {"open", 0, open, 0}, {"call", 3, call, 0}, {"add", 3, add, 0},
    {"copy", 3, copy, 0}, {"put", 3, put, 0},   {"point", 3, point, 0},
};

ERL_NIF_INIT(emmap_bench_floor, functions, load, NULL, NULL, NULL)
