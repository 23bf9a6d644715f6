// A QEMU TCG plugin that counts the executed instructions of every function whose symbol starts with a prefix.
//
//	qemu-aarch64 -plugin libicount.so,prefix=bimamba/neon.,out=counts.txt program
//
// It writes a line "symbol count" for each. The counts are exact, and the same in every run, if no two threads run a function at once.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The part of the plugin API (version 1) that this needs: Debian's QEMU comes without its header.
#define EXPORT __attribute__((visibility("default")))
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };
typedef void tb_translated(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void at_exit(qemu_plugin_id_t, void *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_translated *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, at_exit *, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int op, void *ptr, uint64_t imm);
EXPORT int qemu_plugin_version = 1;

enum { MAX_SYMBOLS = 1024 };

static const char *prefix = "", *out;
static struct {
	char *name;
	uint64_t count;
} symbols[MAX_SYMBOLS];
static int n_symbols;

// counter is the counter of a symbol, NULL for one that is not counted. QEMU translates under a lock.
static uint64_t *counter(const char *name)
{
	if (name == NULL || strncmp(name, prefix, strlen(prefix)) != 0)
		return NULL;
	for (int i = 0; i < n_symbols; i++)
		if (strcmp(symbols[i].name, name) == 0)
			return &symbols[i].count;
	if (n_symbols == MAX_SYMBOLS) {
		fprintf(stderr, "icount: more than %d symbols start with %s\n", MAX_SYMBOLS, prefix);
		exit(1);
	}
	symbols[n_symbols].name = strdup(name);
	return &symbols[n_symbols++].count;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t *c = counter(qemu_plugin_insn_symbol(insn));
		if (c != NULL)
			qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, c, 1);
	}
}

static void finish(qemu_plugin_id_t id, void *unused)
{
	FILE *f = out != NULL ? fopen(out, "w") : stderr;
	if (f == NULL) {
		perror(out);
		return;
	}
	for (int i = 0; i < n_symbols; i++)
		fprintf(f, "%s %llu\n", symbols[i].name, (unsigned long long)symbols[i].count);
	fclose(f);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "prefix=", 7) == 0)
			prefix = strdup(argv[i] + 7);
		else if (strncmp(argv[i], "out=", 4) == 0)
			out = strdup(argv[i] + 4);
		else {
			fprintf(stderr, "icount: unknown argument %s\n", argv[i]);
			return 1;
		}
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
