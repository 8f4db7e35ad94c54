/* The loader's first look at a plugin.
 *
 * Normal path: open, look at the ELF header, walk the program headers to the notes, take the one
 * whose owner is "Athena". Any number that leads out of the file or over a bound is a refusal.
 */
#include "plugin/note.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "lib/buf.h"

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#elif defined(__riscv)
#define OUR_MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define OUR_MACHINE EM_PPC64
#elif defined(__s390x__)
#define OUR_MACHINE EM_S390
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OUR_ORDER ELFDATA2LSB
#else
#define OUR_ORDER ELFDATA2MSB
#endif

enum {
    SEGMENTS_MOST = 256,    /* program headers looked at; linkers write about ten */
    NOTES_MOST = 64 * 1024, /* bytes of one note segment */
    NOTE_HEAD = 12,         /* sizes of name and content, type */
};

struct file {
    const char *path;
    int fd;
    uint64_t size;
};

static void file_close(struct file *f)
{
    if (f->fd >= 0)
        close(f->fd);
}

/* Do n bytes at `off` lie inside the file? */
static int file_holds(const struct file *f, uint64_t n, uint64_t off, ath_err *e)
{
    if (off <= f->size && n <= f->size - off)
        return 0;
    return err_fail(
        e, ATH_E_ABI,
        "plugin file \"%s\" is cut short: it refers to %llu bytes at %llu, but has %llu", f->path,
        (unsigned long long)n, (unsigned long long)off, (unsigned long long)f->size);
}

static int file_take(const struct file *f, void *buf, uint64_t n, uint64_t off, ath_err *e)
{
    int rc = file_holds(f, n, off, e);
    ssize_t got;

    if (rc < 0)
        return rc;
    got = pread(f->fd, buf, (size_t)n, (off_t)off);
    if (got < 0)
        return err_fail(e, ATH_E_ABI, "could not read plugin file \"%s\": %s", f->path,
                        strerror(errno));
    if ((uint64_t)got != n)
        return err_fail(e, ATH_E_ABI, "plugin file \"%s\" changed while it was read", f->path);
    return 0;
}

static int file_open(struct file *f, ath_err *e)
{
    struct stat st;

    /* Not to hang on a FIFO that lies where a plugin should be. */
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return err_fail(e, ATH_E_ABI, "could not open plugin file \"%s\": %s", f->path,
                        strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_fail(e, ATH_E_ABI, "plugin file \"%s\" is not a regular file", f->path);
    if (st.st_mode & S_IWOTH) {
        err_fail(e, ATH_E_ABI, "plugin file \"%s\" may be written by anybody (mode %04o)", f->path,
                 (unsigned)st.st_mode & 07777u);
        err_hint(e,
                 "Its code would run as the server: see where it comes from, then run chmod o-w.");
        return ATH_E_ABI;
    }
    f->size = (uint64_t)st.st_size;
    return 0;
}

static int elf_head(const struct file *f, Elf64_Ehdr *eh, ath_err *e)
{
    int rc;

    if (f->size < SELFMAG)
        return err_fail(e, ATH_E_ABI, "plugin file \"%s\" is no ELF file", f->path);
    if ((rc = file_take(f, eh->e_ident, SELFMAG, 0, e)) < 0)
        return rc;
    if (memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0)
        return err_fail(e, ATH_E_ABI, "plugin file \"%s\" is no ELF file", f->path);
    if ((rc = file_take(f, eh, sizeof(*eh), 0, e)) < 0)
        return rc;
    if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != OUR_ORDER ||
        eh->e_machine != OUR_MACHINE)
        return err_fail(
            e, ATH_E_ABI,
            "plugin file \"%s\" is for another machine (class %u, byte order %u, machine %u; "
            "this server has %u, %u, %u)",
            f->path, eh->e_ident[EI_CLASS], eh->e_ident[EI_DATA], eh->e_machine, ELFCLASS64,
            OUR_ORDER, OUR_MACHINE);
    if (eh->e_type != ET_DYN)
        return err_fail(e, ATH_E_ABI, "plugin file \"%s\" is not a shared object (ELF type %u)",
                        f->path, eh->e_type);
    if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phnum > SEGMENTS_MOST)
        return err_fail(e, ATH_E_ABI, "plugin file \"%s\" has damaged program headers", f->path);
    return 0;
}

/* Names and lists go into messages and logs: printable ASCII only. */
static bool printable(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < ' ' || p[i] > '~')
            return false;
    return true;
}

/* layout, major, minor, then four texts, each with its NUL, and nothing behind. */
static bool note_parse(const unsigned char *p, size_t n, struct note *ret)
{
    uint16_t at[5] = { 0 };
    size_t text = n - 8, k = 0;

    if (n <= 8 || text > sizeof(ret->text))
        return false;
    memcpy(&ret->layout, p, 4);
    memcpy(&ret->major, p + 4, 2);
    memcpy(&ret->minor, p + 6, 2);
    memcpy(ret->text, p + 8, text);
    while (k < 4 && at[k] < text) {
        const char *from = ret->text + at[k], *nul = memchr(from, 0, text - at[k]);
        if (!nul || !printable(from, (size_t)(nul - from)))
            return false;
        at[++k] = (uint16_t)(nul + 1 - ret->text);
    }
    ret->version_at = at[1];
    ret->needs_at = at[2];
    ret->offers_at = at[3];
    return k == 4 && at[4] == text && ret->text[0] && ret->text[ret->version_at];
}

static size_t padded(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

/* 1: found, 0: not among these, -1: damaged. */
static int notes_search(const unsigned char *p, size_t n, size_t align, struct note *ret)
{
    while (n >= NOTE_HEAD) {
        uint32_t h[3];
        size_t name, content;
        memcpy(h, p, NOTE_HEAD);
        if (h[0] > n || h[1] > n)
            return -1;
        name = padded(NOTE_HEAD + h[0], align);
        content = padded(h[1], align);
        if (name > n || h[1] > n - name)
            return -1;
        if (h[0] == 7 && h[2] == 1 && memcmp(p + NOTE_HEAD, "Athena", 7) == 0)
            return note_parse(p + name, h[1], ret) ? 1 : -1;
        if (content >= n - name)
            return 0;
        p += name + content;
        n -= name + content;
    }
    return 0;
}

static int segment_search(const struct file *f, const Elf64_Phdr *ph, struct note *ret, ath_err *e)
{
    unsigned char buf[NOTES_MOST];
    int rc;

    if (ph->p_filesz > sizeof(buf))
        return err_fail(e, ATH_E_ABI,
                        "plugin file \"%s\" has notes of %llu bytes, over the limit of %d", f->path,
                        (unsigned long long)ph->p_filesz, NOTES_MOST);
    if ((rc = file_take(f, buf, ph->p_filesz, ph->p_offset, e)) < 0)
        return rc;
    rc = notes_search(buf, ph->p_filesz, ph->p_align == 8 ? 8 : 4, ret);
    if (rc < 0)
        return err_fail(e, ATH_E_ABI, "plugin file \"%s\" has a damaged note", f->path);
    return rc;
}

/* A program header and, if it is one of notes, what is in it. 1: found. What is to be mapped must
 * lie in the file: mapping a file that was cut short ends in SIGBUS. */
static int header_search(const struct file *f, uint64_t at, struct note *ret, ath_err *e)
{
    Elf64_Phdr ph;
    int rc = file_take(f, &ph, sizeof(ph), at, e);

    if (rc < 0)
        return rc;
    if (ph.p_type == PT_LOAD)
        return file_holds(f, ph.p_filesz, ph.p_offset, e);
    return ph.p_type == PT_NOTE ? segment_search(f, &ph, ret, e) : 0;
}

int note_read(const char *path, struct note *ret, ath_err *e)
{
    ATH_CLEANUP(file_close) struct file f = { .path = path, .fd = -1 };
    bool found = false;
    Elf64_Ehdr eh;
    int rc;

    if ((rc = file_open(&f, e)) < 0 || (rc = elf_head(&f, &eh, e)) < 0 ||
        (rc = file_holds(&f, (uint64_t)eh.e_shnum * eh.e_shentsize, eh.e_shoff, e)) < 0 ||
        (rc = file_holds(&f, (uint64_t)eh.e_phnum * eh.e_phentsize, eh.e_phoff, e)) < 0)
        return rc;
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        if ((rc = header_search(&f, eh.e_phoff + i * sizeof(Elf64_Phdr), ret, e)) < 0)
            return rc;
        found = found || rc;
    }
    if (found)
        return 0;
    err_fail(e, ATH_E_ABI, "plugin file \"%s\" has no Athena note", path);
    err_hint(e, "It was not built as a plugin: ATH_PLUGIN of athena/host.h writes the note.");
    return ATH_E_ABI;
}

int note_fits(const char *path, const struct note *n, ath_err *e)
{
    if (n->layout != ATH_LAYOUT)
        return err_fail(e, ATH_E_ABI,
                        "plugin file \"%s\" has memory layout %06x, this server has %06x", path,
                        (unsigned)n->layout, (unsigned)ATH_LAYOUT);
    if (n->major != ATH_ABI_MAJOR) {
        err_fail(e, ATH_E_ABI,
                 "plugin file \"%s\" is built for ABI %u.%u, this server offers %u.%u", path,
                 n->major, n->minor, ATH_ABI_MAJOR, ATH_ABI_MINOR);
        err_hint(e, "Install the plugin's package for this version of athena.");
        return ATH_E_ABI;
    }
    if (n->minor > ATH_ABI_MINOR) {
        err_fail(e, ATH_E_ABI,
                 "plugin file \"%s\" needs at least ABI %u.%u, this server offers %u.%u", path,
                 n->major, n->minor, ATH_ABI_MAJOR, ATH_ABI_MINOR);
        err_hint(e,
                 "Update athena, or build the plugin with -DATH_ABI_MINOR=%uu if it can do without "
                 "what is newer.",
                 ATH_ABI_MINOR);
        return ATH_E_ABI;
    }
    return 0;
}
