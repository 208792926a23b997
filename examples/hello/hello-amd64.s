# Prints a greeting. With an argument, also writes the greeting to the file that it names.
#
#   as -o hello.o hello-amd64.s && ld -static -s -n -o hello-amd64 hello.o

        .globl  _start
        .section .text
_start:
        mov     $1, %eax                # write(1, greeting, length)
        mov     $1, %edi
        lea     greeting(%rip), %rsi
        mov     $length, %edx
        syscall

        cmpq    $2, (%rsp)              # argc
        jl      done
        mov     16(%rsp), %rdi          # open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644)
        mov     $01101, %esi
        mov     $0644, %edx
        mov     $2, %eax
        syscall
        test    %eax, %eax
        js      failed
        mov     %eax, %edi              # write(file, greeting, length)
        mov     $1, %eax
        lea     greeting(%rip), %rsi
        mov     $length, %edx
        syscall
        cmp     $length, %rax
        jne     failed
done:
        xor     %edi, %edi              # exit(0)
        mov     $60, %eax
        syscall
failed:
        mov     $1, %edi                # exit(1)
        mov     $60, %eax
        syscall

        .section .rodata
greeting:
        .ascii  "Hello from an image that kiln built.\n"
        .set    length, . - greeting
