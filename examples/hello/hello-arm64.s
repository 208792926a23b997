// Prints a greeting. With an argument, also writes the greeting to the file that it names.
//
//   aarch64-linux-gnu-as -o hello.o hello-arm64.s && aarch64-linux-gnu-ld -static -s -n -o hello-arm64 hello.o

        .globl  _start
        .section .text
_start:
        mov     x0, #1                  // write(1, greeting, length)
        adr     x1, greeting
        mov     x2, #length
        mov     x8, #64
        svc     #0

        ldr     x9, [sp]                // argc
        cmp     x9, #2
        b.lt    done
        mov     x0, #-100               // openat(AT_FDCWD, argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644)
        ldr     x1, [sp, #16]
        mov     x2, #01101
        mov     x3, #0644
        mov     x8, #56
        svc     #0
        tbnz    x0, #63, failed
        adr     x1, greeting            // write(file, greeting, length)
        mov     x2, #length
        mov     x8, #64
        svc     #0
        cmp     x0, #length
        b.ne    failed
done:
        mov     x0, #0                  // exit(0)
        mov     x8, #93
        svc     #0
failed:
        mov     x0, #1                  // exit(1)
        mov     x8, #93
        svc     #0

greeting:
        .ascii  "Hello from an image that kiln built.\n"
        .set    length, . - greeting
