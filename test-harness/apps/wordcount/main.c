/* A job: prints lines, words and bytes of each file below /texts, sorted by path, and their sums.
 *
 * Standard input may name what is to be counted: endings such as ".txt", one a line. Without any all files are counted. */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The directory of the permission `texts`. */
#define DIRECTORY "/texts"
#define PATH_BYTES 4096
#define ENDINGS 64
#define ENDING_BYTES 32

struct count {
    unsigned long long lines, words, bytes;
};

static char endings[ENDINGS][ENDING_BYTES];
static int ending_count;
static struct count sum;
static unsigned long long files;

static void read_endings(void) {
    while (ending_count < ENDINGS && fgets(endings[ending_count], ENDING_BYTES, stdin) != NULL) {
        char *ending = endings[ending_count];
        ending[strcspn(ending, "\r\n")] = '\0';
        ending_count += ending[0] != '\0';
    }
}

static int is_wanted(const char *name) {
    size_t length = strlen(name);
    for (int at = 0; at < ending_count; at++) {
        size_t ending = strlen(endings[at]);
        if (ending <= length && strcmp(name + length - ending, endings[at]) == 0) {
            return 1;
        }
    }
    return ending_count == 0;
}

static int failed(const char *path) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return -1;
}

static int count_file(const char *path, struct count *count) {
    static char buffer[64 * 1024];
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return failed(path);
    }
    size_t length;
    int in_word = 0;
    while ((length = fread(buffer, 1, sizeof buffer, file)) > 0) {
        count->bytes += length;
        for (size_t at = 0; at < length; at++) {
            int is_space = isspace((unsigned char)buffer[at]);
            count->lines += buffer[at] == '\n';
            count->words += !is_space && !in_word;
            in_word = !is_space;
        }
    }
    int is_broken = ferror(file);
    fclose(file);
    return is_broken ? failed(path) : 0;
}

static void print(const struct count *count, const char *name) {
    printf("%10llu %10llu %12llu  %s\n", count->lines, count->words, count->bytes, name);
}

static int is_entry(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Counts what is below a directory; symbolic links are not followed. */
static int count_directory(const char *path) {
    struct dirent **entries;
    int found = scandir(path, &entries, is_entry, alphasort);
    if (found < 0) {
        return failed(path);
    }
    int status = 0;
    for (int at = 0; at < found; at++) {
        char below[PATH_BYTES];
        if (snprintf(below, sizeof below, "%s/%s", path, entries[at]->d_name) >= (int)sizeof below) {
            errno = ENAMETOOLONG;
            status = failed(path);
        } else if (entries[at]->d_type == DT_DIR) {
            status |= count_directory(below);
        } else if (entries[at]->d_type == DT_REG && is_wanted(entries[at]->d_name)) {
            struct count count = {0, 0, 0};
            status |= count_file(below, &count);
            print(&count, below + sizeof DIRECTORY);
            sum.lines += count.lines;
            sum.words += count.words;
            sum.bytes += count.bytes;
            files += 1;
        }
        free(entries[at]);
    }
    free(entries);
    return status;
}

int main(void) {
    read_endings();
    int status = count_directory(DIRECTORY);
    char label[40];
    snprintf(label, sizeof label, "in %llu files", files);
    print(&sum, label);
    return status == 0 ? 0 : 1;
}
