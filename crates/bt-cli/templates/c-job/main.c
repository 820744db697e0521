/* A job: it is given its input on standard input, what it prints is its result, and its exit code says whether it is
 * done. */

#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* The directory of the permission `files`, as the app sees it: a slash and the permission's name. */
#define DIRECTORY "/files"

static int is_entry(const char *name) {
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Files below a directory, or -1 where it could not be read. */
static long count(const char *path) {
    DIR *directory = opendir(path);
    if (directory == NULL) {
        perror(path);
        return -1;
    }
    long files = 0;
    struct dirent *entry;
    while (files >= 0 && (entry = readdir(directory)) != NULL) {
        char below[4096];
        if (entry->d_type != DT_DIR) {
            files += 1;
        } else if (is_entry(entry->d_name)) {
            snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
            long more = count(below);
            files = more < 0 ? -1 : files + more;
        }
    }
    closedir(directory);
    return files;
}

int main(void) {
    long files = count(DIRECTORY);
    if (files < 0) {
        return 1;
    }
    printf("%ld files\n", files);
    return 0;
}
