/* Plays every file of the folders and files named on the command line into a fuzzer's function, so
 * that what a fuzzer once found is tried with each test run. Fails when there was nothing to play.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned played;

static void play_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    long size = -1;

    if (f && fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    if (size < 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    rewind(f);
    data = malloc((size_t)size); /* as large as the input: reading past it is seen */
    if ((size && !data) || fread(data, 1, (size_t)size, f) != (size_t)size) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    played++;
}

static void play(const char *path)
{
    DIR *folder = opendir(path);
    char below[4096];

    if (!folder) {
        play_file(path);
        return;
    }
    for (struct dirent *d; (d = readdir(folder));) {
        if (d->d_name[0] == '.')
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, d->d_name);
        play_file(below);
    }
    closedir(folder);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        play(argv[i]);
    printf("%u inputs\n", played);
    return played ? EXIT_SUCCESS : EXIT_FAILURE;
}
