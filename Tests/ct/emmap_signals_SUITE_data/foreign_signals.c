// What another library of the same VM might do with SIGBUS: have a handler, and make faults of its own.
#include <erl_nif.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void say(const char *text) { if (write(1, text, strlen(text)) < 0) _exit(1); }

static void plain_handler(int signal) {
  (void)signal;
  say("foreign plain handler\n");
  _exit(42);
}

static void info_handler(int signal, siginfo_t *info, void *context) {
  (void)context;
  // si_code and si_addr must be those of the fault itself, not of a signal that was sent again.
  say(signal == SIGBUS && info->si_code == BUS_ADRERR && info->si_addr ? "foreign info handler\n" : "wrong info\n");
  _exit(43);
}

static ERL_NIF_TERM install_handler(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  char kind[8];
  struct sigaction action;
  (void)argc;
  if (!enif_get_atom(env, argv[0], kind, sizeof kind, ERL_NIF_LATIN1)) return enif_make_badarg(env);
  memset(&action, 0, sizeof action);
  action.sa_flags = SA_ONSTACK;
  if (!strcmp(kind, "plain")) {
    action.sa_handler = plain_handler;
  } else if (!strcmp(kind, "info")) {
    action.sa_flags |= SA_SIGINFO;
    action.sa_sigaction = info_handler;
  } else {
    action.sa_handler = SIG_IGN;
  }
  return enif_make_int(env, sigaction(SIGBUS, &action, NULL));
}

// Touches a page past the end of a file that this library has mapped itself.
static ERL_NIF_TERM touch_own_truncated_mapping(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  char path[4096];
  (void)argc;
  if (enif_get_string(env, argv[0], path, sizeof path, ERL_NIF_LATIN1) <= 0) return enif_make_badarg(env);
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, 8192) != 0) return enif_make_badarg(env);
  volatile char *bytes = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (bytes == MAP_FAILED || ftruncate(file, 0) != 0) return enif_make_badarg(env);
  return enif_make_int(env, bytes[4096]);
}

// Has a child of fork(2) read the first byte of each page of a binary, and returns the last of them; -1 if the child was
// ended by a signal, SIGALRM after 5 s among them. Through a pipe: the VM does not let children be waited for.
static ERL_NIF_TERM read_in_child(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
  ErlNifBinary binary;
  int ends[2];
  unsigned char byte = 0;
  (void)argc;
  if (!enif_inspect_binary(env, argv[0], &binary) || pipe(ends) != 0) return enif_make_badarg(env);
  pid_t child = fork();
  if (child == 0) {
    alarm(5);
    for (size_t i = 0; i < binary.size; i += 4096) byte = ((volatile unsigned char *)binary.data)[i];
    _exit(write(ends[1], &byte, 1) != 1);
  }
  close(ends[1]);
  ssize_t count = child < 0 ? 0 : read(ends[0], &byte, 1);
  close(ends[0]);
  return enif_make_int(env, count == 1 ? byte : -1);
}

static ErlNifFunc functions[] = {
    {"install_handler", 1, install_handler, 0},
    {"touch_own_truncated_mapping", 1, touch_own_truncated_mapping, 0},
    {"read_in_child", 1, read_in_child, ERL_NIF_DIRTY_JOB_IO_BOUND},
};

ERL_NIF_INIT(emmap_signals_SUITE, functions, NULL, NULL, NULL, NULL)
