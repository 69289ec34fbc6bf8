# cmake -DNM=<nm> -DLIBRARY=<real library> -DREFUSE=<function> -DOUT=<file> -P refuse_the_rest.cmake
#
# Writes a source file that defines, weakly, every function of the real library as one that names itself
# to REFUSE, which ends the process. What the fake library defines itself takes precedence.
execute_process(COMMAND ${NM} -D --defined-only ${LIBRARY}
                OUTPUT_VARIABLE lines RESULT_VARIABLE result ERROR_VARIABLE error)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${NM} cannot read ${LIBRARY}: ${error}")
endif()
string(REGEX MATCHALL " [TWi] (__cuda|cuda|nccl|pnccl)[A-Za-z0-9_]+" symbols "${lines}")
list(TRANSFORM symbols REPLACE "^ . " "")
list(REMOVE_DUPLICATES symbols)
list(LENGTH symbols count)
if(count LESS 50)
  message(FATAL_ERROR "${LIBRARY} exports only ${count} functions; is it the real one?")
endif()
set(text "// Every call of the real library that the fake one does not have.\n")
string(APPEND text "extern \"C\" [[noreturn]] void ${REFUSE}(const char* name);\n")
string(APPEND text "#define REFUSED(name) extern \"C\" __attribute__((weak)) void name() { ${REFUSE}(#name); }\n")
foreach(symbol ${symbols})
  string(APPEND text "REFUSED(${symbol})\n")
endforeach()
file(WRITE ${OUT} "${text}")
