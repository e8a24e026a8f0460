# espnet_find_backend(NAME package way_out): finds the package as ESPNET_WITH_NAME says, AUTO, ON or OFF. Sets
# espnet_with_name to ON or OFF, and espnet_name_said to what the summary says.
#
# A macro: what find_package sets must be seen by the caller.
macro(espnet_find_backend NAME package way_out)
    string(TOLOWER ${NAME} _espnet_name)
    if(NOT ESPNET_WITH_${NAME} MATCHES "^(AUTO|ON|OFF)$")
        message(FATAL_ERROR "ESPNET_WITH_${NAME} is \"${ESPNET_WITH_${NAME}}\"; it is AUTO, ON or OFF")
    endif()
    set(espnet_with_${_espnet_name} OFF)
    set(espnet_${_espnet_name}_said "off")
    if(NOT ESPNET_WITH_${NAME} STREQUAL "OFF")
        find_package(${package} QUIET)
        if(${package}_FOUND)
            set(espnet_with_${_espnet_name} ON)
            set(espnet_${_espnet_name}_said "${${package}_VERSION}")
        elseif(ESPNET_WITH_${NAME} STREQUAL "ON")
            message(FATAL_ERROR "${package} was not found, and ESPNET_WITH_${NAME} is ON: ${way_out}; or leave it at AUTO")
        else()
            set(espnet_${_espnet_name}_said "not found (${way_out})")
        endif()
    endif()
endmacro()
